// How wrong a target is that takes a source's answer in with a strength: few labels of
// its own scatter, and the source's answer is of another thing.
"use strict";

Dial.start("strength", (svg, { noise }) => {
  const LEFT = 40, TOP = 30, WIDE = 290, HIGH = 190, MOST = 1;
  const x = (strength) => LEFT + WIDE * strength;
  const y = (error) => TOP + HIGH * (1 - Math.min(error, 1.05 * MOST) / MOST);
  Dial.set(svg, { viewBox: `0 0 348 ${TOP + HIGH + 40}` });
  Dial.shape(svg, "path", { class: "axis", d: `M${LEFT} ${TOP}v${HIGH}h${WIDE}` });
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    const d = `M${x(tick)} ${y(0)}v4M${LEFT} ${y(tick)}h-4`;
    Dial.shape(svg, "path", { class: "axis", d });
    Dial.shape(svg, "text", { class: "middle", x: x(tick), y: y(0) + 17 }, tick);
    Dial.shape(svg, "text", { class: "end", x: LEFT - 8, y: y(tick) + 4 }, tick);
  }
  Dial.shape(svg, "text", { class: "middle", x: x(0.5), y: y(0) + 33 }, "strength");
  const kinds = [
    ["own", "labels' noise", 2, LEFT],
    ["gap", "gap to the source", 1, LEFT + 112],
    ["sum", "error", 0, LEFT + 244],
  ];
  const curves = kinds.map(([kind, words, colour, at]) => {
    const style = `stroke:var(--dial-${colour})`;
    Dial.shape(svg, "path", { class: kind, d: `M${at} 9h18`, style });
    Dial.shape(svg, "text", { x: at + 23, y: 13 }, words);
    return Dial.shape(svg, "path", { class: kind, style });
  });
  const alone = Dial.shape(svg, "path", { class: "now" });
  const best = Dial.shape(svg, "path", { class: "best" });
  const here = Dial.shape(svg, "circle",
    { class: "mark", r: 5, style: "fill:var(--dial-0)" });
  const steps = Array.from({ length: 101 }, (_, k) => k / 100);

  return ({ strength, labels, relatedness }) => {
    const own = noise / labels, gap = 2 * (1 - relatedness);
    const parts = [(s) => (1 - s) ** 2 * own, (s) => s ** 2 * gap];
    const error = (s) => parts[0](s) + parts[1](s);
    [...parts, error].forEach((curve, k) => Dial.set(curves[k],
      { d: "M" + steps.filter((s) => curve(s) <= 1.05 * MOST)
        .map((s) => `${x(s)} ${y(curve(s)).toFixed(2)}`).join("L") }));
    const top = own / (own + gap);
    Dial.set(alone, { d: `M${LEFT} ${y(own)}h${WIDE}` });
    Dial.set(best, { d: `M${x(top)} ${y(error(top))}V${y(0)}m0 -1l-5 -8h10z` });
    Dial.set(here, { cx: x(strength), cy: y(error(strength)) });
    const worse = error(strength) > own * (1 + 1e-9);
    return [
      `At this strength the expected squared error is
       ${Dial.say("error", error(strength), 3)}, ${worse ? "worse than" : "against"}
       ${Dial.say("alone", own, 3)} without the edge. Best is a strength of
       ${Dial.say("best", top)}, with ${Dial.say("least", error(top), 3)}.`,
      `Error by strength, from ${own.toFixed(2)} at strength 0 over its least value
       ${error(top).toFixed(2)} at ${top.toFixed(2)} to ${gap.toFixed(2)} at strength 1.
       The dot at strength ${strength.toFixed(2)} is ${worse ? "above" : "not above"} the
       dashed line of no edge. The part of the labels' noise falls, that of the gap rises.`,
    ];
  };
});
