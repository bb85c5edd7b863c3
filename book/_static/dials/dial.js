// What the dials share: sliders, numbers in words, and shapes. Every figure is drawn
// anew at each turn and nothing moves by itself.
"use strict";

const Dial = (() => {
  // A shape of the picture. Under `parent`, with attributes, and words if it is text.
  const shape = (parent, tag, attributes = {}, words = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    set(made, attributes);
    made.textContent = words;
    return parent.appendChild(made);
  };

  const set = (made, attributes) => {
    for (const [name, value] of Object.entries(attributes)) {
      made.setAttribute(name, typeof value === "number" ? +value.toFixed(3) : value);
    }
  };

  // A number within a sentence: rounded for the reader, whole for whoever checks it.
  const say = (name, value, digits = 2) =>
    `<data data-number="${name}" value="${value}">${value.toFixed(digits)}</data>`;

  const valueOf = ({ value, dataset }) => {
    const turned = "log" in dataset ? 10 ** value : Number(value);
    return "whole" in dataset ? Math.round(turned) : turned;
  };

  // As short as it goes, and in no other way than a reader would write it.
  const short = (value, log) =>
    String(+(log ? value.toPrecision(2) : value.toFixed(2)));

  // Each figure of a kind. `face(svg, inputs)` draws what stays and answers a function
  // of the sliders' values, which draws the rest and answers [numbers, picture] in words.
  const start = (kind, face) => {
    for (const body of document.querySelectorAll(`[data-dial="${kind}"]`)) {
      const sliders = [...body.querySelectorAll("input")];
      const svg = body.querySelector("svg");
      const turn = face(svg, JSON.parse(body.dataset.inputs));
      const update = () => {
        const values = {};
        for (const slider of sliders) {
          const { name, dataset } = slider;
          values[name] = valueOf(slider);
          const words = short(values[name], "log" in dataset && !("whole" in dataset));
          slider.setAttribute("aria-valuetext", words);
          slider.previousElementSibling.textContent = words;
        }
        const [numbers, picture] = turn(values);
        body.querySelector("output").innerHTML = numbers;
        svg.setAttribute("aria-label", picture.replace(/\s+/g, " "));
      };
      body.addEventListener("input", update);
      body.querySelector("button").addEventListener("click", () => {
        for (const slider of sliders) slider.value = slider.defaultValue;
        update();
      });
      body.hidden = false;
      update();
    }
  };

  return { say, set, shape, short, start };
})();
