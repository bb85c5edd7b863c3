// The ledger's filter: which rows of its table are shown, by verdict and by words.
// The page is whole without it: then every row is shown and there is nothing to press.
"use strict";

(() => {
  const place = document.getElementById("ledger-filter");
  if (!place) return;
  const follows = (table) =>
    place.compareDocumentPosition(table) & Node.DOCUMENT_POSITION_FOLLOWING;
  const table = [...document.querySelectorAll("table")].find(follows);
  if (!table) return;

  const KINDS =
    ["holds", "holds when", "does not hold", "not decided", "refuted", "to come"];
  const rows = [...table.tBodies[0].rows].map((row) => {
    const [number, statement, verdict] =
      [...row.cells].map((cell) => cell.textContent.trim());
    const words = `${number} ${statement}`.toLowerCase();
    return { row, words, kind: verdict.split(":")[0] };
  });

  place.className = "ledger-filter";
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", "Choose claims");
  place.innerHTML =
    `<label>Verdict <select></select></label>
     <label>Words <input type="search" autocomplete="off" spellcheck="false"></label>
     <p role="status"></p>`;
  const select = place.querySelector("select");
  const search = place.querySelector("input");
  const status = place.querySelector("p");
  select.add(new Option(`all (${rows.length})`, ""));
  for (const kind of KINDS) {
    const count = rows.filter((entry) => entry.kind === kind).length;
    select.add(new Option(`${kind} (${count})`, kind));
  }

  // A row is shown if its verdict is the chosen one and it has every word asked for.
  const update = () => {
    const asked = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, words, kind } of rows) {
      const chosen = !select.value || kind === select.value;
      row.hidden = !(chosen && asked.every((word) => words.includes(word)));
      shown += !row.hidden;
    }
    table.hidden = shown === 0;
    status.textContent = `${shown} of ${rows.length} claims`;
  };
  select.addEventListener("change", update);
  search.addEventListener("input", update);

  // The front page links to one verdict: claims.html?verdict=refuted.
  const wanted = new URLSearchParams(location.search).get("verdict");
  if (KINDS.includes(wanted)) select.value = wanted;
  update();
})();
