// A Rips complex that grows: disks, edges, triangles, and the barcode of its pieces
// and rings. Pieces are found here; rings were found by gudhi, as pairs of points.
"use strict";

Dial.start("rips", (svg, { points, rings }) => {
  const UNIT = 84, MOST = 2, BAR = 4;
  const places = points.map(([x, y]) => [UNIT * (x + 1.5), UNIT * (1.3 - y)]);
  const apart = ([a, b], [c, d]) => Math.hypot(a - c, b - d);
  const number = [...points.keys()];
  const far = number.map((i) => number.map((j) => apart(points[i], points[j])));
  const edges = number.flatMap((i) => number.slice(i + 1).map((j) => [far[i][j], i, j]))
    .sort((a, b) => a[0] - b[0]);

  // Kruskal: an edge between two pieces ends one of them.
  const piece = [...number];
  const root = (i) => (piece[i] === i ? i : root(piece[i]));
  const ends = [];
  for (const [length, i, j] of edges) {
    const [one, other] = [root(i), root(j)];
    if (one !== other) ends.push(length);
    piece[one] = other;
  }
  const bars = [...ends.map((end) => [0, end]), [0, Infinity]]
    .reverse().map((bar) => [...bar, "pale"]);
  for (const [i, j, k, l] of rings) bars.push([far[i][j], far[k][l], ""]);
  const alive = ([born, end], t) => born <= t && t < end;

  const top = 2.6 * UNIT + 8, low = top + 6 * bars.length + 12;
  const x = (t) => 12 + (t / MOST) * 310;
  Dial.set(svg, { viewBox: `0 0 336 ${low + 32}` });
  const colour = "fill:var(--dial-1)", stroke = "stroke:var(--dial-1)";
  const plane = Dial.shape(svg, "svg",
    { "aria-hidden": "true", width: 336, height: top - 4 });
  const disks = Dial.shape(plane, "path", { class: "disks", style: colour });
  const filled = Dial.shape(plane, "path", { class: "filled", style: colour });
  const joined = Dial.shape(plane, "path", { class: "joined", style: stroke });
  for (const [cx, cy] of places) {
    Dial.shape(plane, "circle", { class: "dot", cx, cy, r: 2.5, style: colour });
  }
  bars.forEach(([born, end, kind], row) => Dial.shape(svg, "rect", {
    class: `bar ${kind}`, x: x(born), width: x(Math.min(end, MOST)) - x(born), height: BAR,
    y: low - 10 - 6 * (row + 1) + 4, style: colour }));
  Dial.shape(svg, "path", { class: "axis", d: `M${x(0)} ${low}H${x(MOST)}` });
  for (const tick of [0, 0.5, 1, 1.5, 2]) {
    Dial.shape(svg, "path", { class: "axis", d: `M${x(tick)} ${low}v4` });
    Dial.shape(svg, "text", { class: "middle", x: x(tick), y: low + 16 }, tick);
  }
  Dial.shape(svg, "text", { class: "middle", x: x(MOST / 2), y: low + 29 }, "distance");
  const now = Dial.shape(svg, "path", { class: "now" });

  const circle = ([a, b], r) =>
    `M${a - r} ${b}a${r} ${r} 0 1 1 ${2 * r} 0a${r} ${r} 0 1 1 ${-2 * r} 0z`;
  // All one way round, so that overlapping triangles add up to one patch.
  const triangle = (a, b, c) => {
    const round = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
    return `M${a}L${round > 0 ? [b, c] : [c, b]}z`;
  };

  return ({ distance }) => {
    const near = edges.filter(([length]) => length <= distance);
    const triangles = near.flatMap(([, i, j]) => number.slice(j + 1)
      .filter((k) => far[i][k] <= distance && far[j][k] <= distance)
      .map((k) => triangle(places[i], places[j], places[k])));
    const r = (distance * UNIT) / 2;
    Dial.set(disks, { d: r ? places.map((at) => circle(at, r)).join("") : "" });
    Dial.set(filled, { d: triangles.join("") });
    const lines = near.map(([, i, j]) => `M${places[i]}L${places[j]}`);
    Dial.set(joined, { d: lines.join("") });
    Dial.set(now, { d: `M${x(distance)} ${top}V${low}` });
    const living = bars.filter((bar) => alive(bar, distance));
    const pieces = living.filter(([, , kind]) => kind).length;
    const round = living.length - pieces;
    const s = (value) => (value === 1 ? "" : "s");
    const many = (name, value, one) => `${Dial.say(name, value, 0)} ${one}${s(value)}`;
    return [
      `At this distance there are ${many("edges", near.length, "edge")} and
       ${many("triangles", triangles.length, "triangle")}, which make
       ${many("pieces", pieces, "piece")} and ${many("rings", round, "ring")}.`,
      `Sixteen points around a circle and eight in a clump on its right, with disks of
       diameter ${distance.toFixed(2)}. They form ${pieces} piece${s(pieces)} and
       ${round} ring${s(round)}. Below, a barcode with ${points.length} pale bars from 0
       and ${rings.length} bars of full colour, crossed by a line at this distance.`,
    ];
  };
});
