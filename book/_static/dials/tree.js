// A tree in the Poincare disk of curvature -c, all its edges equally long.
"use strict";

Dial.start("tree", (svg, { children, edge }) => {
  // Complex numbers as pairs.
  const add = ([a, b], [c, d]) => [a + c, b + d];
  const times = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];
  const over = (z, [c, d]) => times(z, [c / (c * c + d * d), -d / (c * c + d * d)]);
  const bar = ([a, b]) => [a, -b];
  const minus = ([a, b]) => [-a, -b];
  const size = ([a, b]) => Math.hypot(a, b);
  const polar = (radius, angle) => [radius * Math.cos(angle), radius * Math.sin(angle)];
  // The isometry that carries 0 to a.
  const moved = (z, a) => over(add(z, a), add([1, 0], times(bar(a), z)));

  // In the disk of curvature -1, where a distance is sqrt(c) times as long.
  const far = (z, w) => {
    const room = (1 - size(z) ** 2) * (1 - size(w) ** 2);
    return Math.acosh(1 + (2 * size(add(z, minus(w))) ** 2) / room);
  };
  // The straight way from a to b is an arc of the circle through both that meets the
  // rim at right angles; where it is flat, a line.
  const way = (a, b) => {
    const [ma, mb] = [(1 + size(a) ** 2) / 2, (1 + size(b) ** 2) / 2];
    const cross = a[0] * b[1] - a[1] * b[0];
    const centre = [(ma * b[1] - mb * a[1]) / cross, (mb * a[0] - ma * b[0]) / cross];
    const radius = Math.sqrt(size(centre) ** 2 - 1);
    return { radius: radius < 1e4 ? radius : 0, left: cross < 0 };
  };

  // Children lie around a node in equal angles, the parent taking one of them.
  const parent = [-1], depth = [0];
  for (let node = 0; node < parent.length; node += 1) {
    for (let k = 0; k < (children[depth[node]] ?? 0); k += 1) {
      parent.push(node);
      depth.push(depth[node] + 1);
    }
  }
  const laidOut = (step) => {
    const at = [[0, 0]], used = parent.map(() => 0);
    for (let node = 1; node < parent.length; node += 1) {
      const above = parent[node], here = at[above], grand = at[parent[above]];
      const places = children[depth[above]] + (above > 0);
      const [a, b] = above > 0 ? moved(grand, minus(here)) : polar(1, -Math.PI / 6);
      const turn = Math.atan2(b, a) + (2 * Math.PI * (used[above] += 1)) / places;
      at.push(moved(polar(Math.tanh(step / 2), turn), here));
    }
    return at;
  };
  const line = (node) => (node > 0 ? [node, ...line(parent[node])] : [0]);
  const edges = (i, j) => {
    const [up, down] = [line(i), line(j)];
    const both = up.filter((node) => down.includes(node));
    return up.length + down.length - 2 * both.length;
  };

  const leaves = [...parent.keys()].filter((node) => depth[node] === children.length);
  const pairs = leaves.flatMap((i) => leaves.filter((j) => j > i).map((j) => [i, j]));
  // The two that lie on one spot of flat paper.
  const flat = laidOut(1e-4);
  const apart = ([i, j]) => far(flat[i], flat[j]);
  const pair = pairs.reduce((best, found) =>
    (apart(found) < apart(best) - 1e-9 ? found : best));

  Dial.set(svg, { viewBox: "-166 -166 332 332" });
  const drawn = Object.fromEntries(["rim", "axis", "path", "short"].map((kind) =>
    [kind, Dial.shape(svg, kind === "rim" ? "circle" : "path", { class: kind })]));
  drawn.short.setAttribute("style", "stroke:var(--dial-0)");
  const dots = parent.map((_, node) => Dial.shape(svg, "circle",
    { r: node === 0 || pair.includes(node) ? 5 : 2.5,
      class: pair.includes(node) ? "mark" : "dot", style: "fill:var(--dial-0)" }));
  const names = ["A", "B"].map((name) =>
    Dial.shape(svg, "text", { class: "middle" }, name));

  return ({ curvature }) => {
    const step = Math.sqrt(curvature) * edge, at = laidOut(step);
    const zoom = 138 / Math.max(...at.map(size));
    const place = ([a, b]) => [zoom * a, -zoom * b];
    const words = (z) => place(z).map((x) => x.toFixed(2)).join(" ");
    const path = (a, b) => {
      const { radius, left } = way(a, b), r = (zoom * radius).toFixed(2);
      return `M${words(a)}${radius ? `A${r} ${r} 0 0 ${+!left} ` : "L"}${words(b)}`;
    };
    Dial.set(drawn.rim, { r: zoom });
    Dial.set(drawn.axis, { d: parent.map((above, node) =>
      (node ? path(at[above], at[node]) : "")).join("") });
    const [i, j] = pair;
    const through = [...line(i), ...line(j).reverse().slice(1)];
    Dial.set(drawn.path, { d: through.slice(1).map((node, k) =>
      path(at[through[k]], at[node])).join("") });
    Dial.set(drawn.short, { d: path(at[i], at[j]) });
    dots.forEach((dot, node) => {
      const [cx, cy] = place(at[node]);
      Dial.set(dot, { cx, cy });
    });
    pair.forEach((node, k) => {
      const [a, b] = place(at[node]), out = 1 + 17 / Math.hypot(a, b);
      Dial.set(names[k], { x: out * a + (k ? 6 : -6), y: out * b + 4 });
    });
    const share = ([a, b]) => far(at[a], at[b]) / step / edges(a, b);
    const all = pairs.reduce((sum, found) => sum + share(found), 0) / pairs.length;
    const distance = far(at[i], at[j]) / Math.sqrt(curvature);
    return [
      `From leaf A to leaf B it is ${Dial.say("edges", edges(i, j) * edge, 0)} along the
       tree and ${Dial.say("distance", distance)} straight through the disk, a share of
       ${Dial.say("share", share(pair))}. Over all pairs of leaves the share is
       ${Dial.say("all", all)} in the mean.`,
      `A tree of ${parent.length} nodes with its root in the middle, three branches and
       twelve leaves, at curvature minus ${Dial.short(curvature, true)}. The leaves A and
       B of two branches are ${distance.toFixed(2)} apart. The straight way between them
       ${distance < 1 ? "is short and far from the root" : share(pair) < 0.8
        ? "bends towards the root" : "runs along the branches and past the root"}.`,
    ];
  };
});
