"use strict";
// The leaderboard: headings sort, words and the phase filter.
(() => {
  const { byId } = page;

  const board = byId("board");
  const body = board.tBodies[0];
  const lines = Array.from(body.rows);

  function sortBy(column, descending) {
    const numeric = board.tHead.rows[0].cells[column].classList.contains("number");
    const key = (row) => (numeric ? Number(row.cells[column].dataset.key) : row.cells[column].dataset.key);
    const empty = (row) => ["", "–"].includes(row.cells[column].textContent); // a control has no rank
    const compare = (a, b) => (numeric ? key(a) - key(b) : key(a).localeCompare(key(b)));
    // Rows without a value come last, whichever way the others go.
    const sorted = lines.slice().sort((a, b) => empty(a) - empty(b) || (descending ? compare(b, a) : compare(a, b)));
    body.append(...sorted);
    Array.from(board.tHead.rows[0].cells).forEach((cell, place) => {
      cell.setAttribute("aria-sort", place === column ? (descending ? "descending" : "ascending") : "none");
    });
  }

  Array.from(board.tHead.rows[0].cells).forEach((cell, column) => {
    const button = cell.querySelector("button");
    button.addEventListener("click", () => {
      const now = cell.getAttribute("aria-sort");
      const first = cell.classList.contains("number") && cell.dataset.first !== "small";
      sortBy(column, now === "none" ? first : now === "ascending");
    });
  });

  function filter() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const phase = byId("phase").value;
    let shown = 0;
    for (const row of lines) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(words.every((word) => text.includes(word)) && (!phase || row.dataset.phase === phase));
      shown += row.hidden ? 0 : 1;
    }
    byId("shown").textContent = shown === lines.length ? "" : shown + " of " + lines.length + " runs";
  }

  byId("filter").addEventListener("input", filter);
  byId("phase").addEventListener("change", filter);
  filter();
})();
