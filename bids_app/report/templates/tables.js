"use strict";
// Sort a table by the column whose heading button is pressed: numbers as numbers, names as people count (2 before 10).
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = heading.querySelector("button.sort");
    if (!button) return;
    button.addEventListener("click", () => {
      const rising = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        // What is not known comes last, whichever way the rest is sorted.
        if (x === "" || y === "") return (x === "") - (y === "");
        const numbers = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
        const difference = numbers ? x - y : x.localeCompare(y, "en", { numeric: true });
        return rising ? difference : -difference;
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}
