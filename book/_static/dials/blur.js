// Sinkhorn's plan between two histograms of hours, and the exact one beside it.
"use strict";

Dial.start("blur", (svg, inputs) => {
  const CELL = 11, LEFT = 62, TOP = 46, TOLERANCE = 1e-7, MOST = 3000;
  const shares = (counts) => {
    const sum = counts.reduce((a, b) => a + b);
    return counts.map((count) => count / sum);
  };
  const from = shares(inputs.from), to = shares(inputs.to), n = from.length;
  const bins = [...from.keys()];
  const square = bins.map((i) => bins.map((j) => (i - j) ** 2));
  const mean = square.flat().reduce((a, b) => a + b) / n ** 2;
  const cost = square.map((row) => row.map((x) => x / mean));
  const carried = (plan) =>
    plan.flat().reduce((sum, mass, at) => sum + mass * cost.flat()[at], 0);

  // On a line the cheapest plan keeps the order: walk up both cumulated histograms.
  const exact = bins.map(() => bins.map(() => 0));
  for (let i = 0, j = 0, a = from[0], b = to[0]; i < n && j < n;) {
    const mass = Math.min(a, b);
    exact[i][j] += mass;
    a -= mass;
    b -= mass;
    if (a <= b) a = from[++i]; else b = to[++j];
  }

  // The potential of one side that gives the other side its sums, by logarithms: no
  // exponential of a large number is ever taken. The cost is symmetric.
  const answer = (shares, potential, blur) => bins.map((k) => {
    const terms = shares.map((share, i) =>
      Math.log(share) + (potential[i] - cost[i][k]) / blur);
    const top = Math.max(...terms);
    const sum = terms.reduce((all, x) => all + Math.exp(x - top), 0);
    return -blur * (top + Math.log(sum));
  });

  // Columns and rows made right in turn, until the rows were right already.
  const sinkhorn = (blur) => {
    let f = from.map(() => 0), g = f, off = 1;
    for (let round = 0; round < MOST && off > TOLERANCE; round += 1) {
      g = answer(from, f, blur);
      const last = f;
      f = answer(to, g, blur);
      off = bins.reduce((sum, i) =>
        sum + from[i] * Math.abs(Math.exp((last[i] - f[i]) / blur) - 1), 0);
    }
    return bins.map((i) => bins.map((j) =>
      from[i] * to[j] * Math.exp((f[i] + g[j] - cost[i][j]) / blur)));
  };

  const x = (hour) => LEFT + CELL * hour, y = (hour) => TOP + CELL * (n - hour);
  Dial.set(svg, { viewBox: `0 0 ${x(n) + 12} ${y(0) + 34}` });
  const colour = "fill:var(--dial-6)";
  for (const k of bins) {
    const left = 300 * from[k], up = 260 * to[k];
    Dial.shape(svg, "rect", { x: LEFT - 4 - left, y: y(k + 1) + 1, width: left,
      height: CELL - 2, style: colour });
    Dial.shape(svg, "rect", { x: x(k) + 1, y: TOP - 4 - up, width: CELL - 2,
      height: up, style: colour });
  }
  const size = { width: CELL, height: CELL };
  const cells = bins.map((i) => bins.map((j) => Dial.shape(svg, "rect",
    { class: "cell", x: x(j), y: y(i + 1), ...size, style: colour })));
  const outline = bins.flatMap((i) => bins.filter((j) => exact[i][j] > 5e-4)
    .map((j) => `M${x(j) + 1} ${y(i + 1) + 1}h${CELL - 2}v${CELL - 2}h${2 - CELL}z`));
  Dial.shape(svg, "path", { class: "exact", d: outline.join("") });
  Dial.shape(svg, "path",
    { class: "axis", d: `M${LEFT} ${TOP}h${CELL * n}v${CELL * n}h${-CELL * n}z` });
  for (const hour of [0, 6, 12, 18, 24]) {
    Dial.shape(svg, "text", { class: "middle", x: x(hour), y: y(0) + 13 }, hour);
    Dial.shape(svg, "path", { class: "axis", d: `M${x(hour)} ${y(0)}v3` });
    Dial.shape(svg, "path", { class: "axis", d: `M${x(n)} ${y(hour)}h3` });
  }
  const below = { class: "middle", x: x(n / 2), y: y(0) + 28 };
  Dial.shape(svg, "text", below, "to this hour");
  Dial.shape(svg, "text", { class: "middle", transform: `translate(11 ${y(n / 2)})
    rotate(-90)` }, "from this hour");

  const dark = Math.max(...exact.flat());
  return ({ blur }) => {
    const plan = sinkhorn(blur);
    cells.forEach((row, i) => row.forEach((cell, j) =>
      Dial.set(cell, { "fill-opacity": Math.min(1, Math.sqrt(plan[i][j] / dark)) })));
    const apart = plan.flatMap((row, i) => row.map((mass) =>
      (mass > 0 ? -mass * Math.log(mass / from[i]) : 0))).reduce((a, b) => a + b);
    const spread = Math.exp(apart);
    return [
      `The plan carries at a cost of ${Dial.say("cost", carried(plan), 3)}; the cheapest
       of all costs ${Dial.say("exact", carried(exact), 3)}. What leaves one hour
       is spread as if over ${Dial.say("spread", spread, 1)} hours evenly.`,
      `A square of 24 by 24 hours, from and to. The plan is
       ${spread > 8 ? "two clouds, of no slant" : spread > 4 ? "a broad band that bends"
        : "a narrow band on the outlined cells of the cheapest plan"}. Left of it a
       histogram with one peak at 13 o'clock, above it one with peaks at 7 and 19.`,
    ];
  };
});
