// A gate's softmax at a temperature, its entropy, and how many experts that is like.
"use strict";

Dial.start("gate", (svg, { experts, scores }) => {
  const ROW = 22, LEFT = 116, WIDE = 206;
  const bottom = ROW * experts.length;
  const most = Math.log(experts.length);
  Dial.set(svg, { viewBox: `0 0 360 ${bottom + 46}` });
  const bars = experts.map((name, row) => {
    const y = ROW * row;
    Dial.shape(svg, "text", { x: LEFT - 6, y: y + 15, class: "end" },
      name.replaceAll("_", " "));
    const style = `fill:var(--dial-${row})`;
    return {
      bar: Dial.shape(svg, "rect", { x: LEFT, y: y + 3, height: 16, style }),
      number: Dial.shape(svg, "text", { y: y + 15 }),
    };
  });
  const y = bottom + 20;
  Dial.shape(svg, "text", { x: LEFT - 6, y: y + 4, class: "end" }, "entropy / log 7");
  Dial.shape(svg, "rect",
    { class: "side", x: LEFT + 0.5 * WIDE, y: y - 8, width: 0.4 * WIDE, height: 16 });
  Dial.shape(svg, "path", { class: "axis", d: `M${LEFT} ${y}h${WIDE}` });
  for (const [at, words] of [[0, "0"], [0.5, "0.5"], [0.9, "0.9"], [1, "1"]]) {
    Dial.shape(svg, "path", { class: "axis", d: `M${LEFT + at * WIDE} ${y - 4}v8` });
    Dial.shape(svg, "text", { x: LEFT + at * WIDE, y: y + 21, class: "middle" }, words);
  }
  const needle = Dial.shape(svg, "circle", { class: "mark", cy: y, r: 5 });

  return ({ temperature }) => {
    const top = Math.max(...scores);
    const raw = scores.map((score) => Math.exp((score - top) / temperature));
    const sum = raw.reduce((a, b) => a + b);
    const weights = raw.map((x) => x / sum);
    const entropy = -weights.reduce((h, w) => h + (w && w * Math.log(w)), 0);
    bars.forEach(({ bar, number }, row) => {
      Dial.set(bar, { width: weights[row] * WIDE });
      Dial.set(number, { x: LEFT + weights[row] * WIDE + 5 });
      number.textContent = weights[row].toFixed(2);
    });
    Dial.set(needle, { cx: LEFT + (entropy / most) * WIDE });
    const first = weights.indexOf(Math.max(...weights));
    const name = experts[first].replaceAll("_", " ");
    return [
      `Heard most is ${name}, with ${Dial.say("largest", weights[first])} of the
       attention. The entropy is ${Dial.say("entropy", entropy)} nats,
       ${Dial.say("share", entropy / most)} of log 7: as if
       ${Dial.say("number", Math.exp(entropy), 1)} experts were heard alike.`,
      `Seven bars, the weights of the experts: ${experts.map((expert, row) =>
        `${expert.replaceAll("_", " ")} ${weights[row].toFixed(2)}`).join(", ")}.
       Below, on a scale from 0 to 1 with a band from 0.5 to 0.9, the entropy over log 7
       at ${(entropy / most).toFixed(2)}.`,
    ];
  };
});
