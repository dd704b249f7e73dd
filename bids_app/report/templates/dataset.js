// The form of decisions: saved as a table from the browser, and read back.
{
  const form = document.getElementById("qc"), state = document.getElementById("qc-state");
  const rows = [...form.querySelectorAll("tbody tr")];
  const parts = (row) => [row.querySelector("select"), row.querySelector("input")];
  const plain = (text) => text.replace(/\s+/g, " ").trim() || "n/a";
  // A cell that begins with a quote would be read as a quoted one.
  const written = (text) => (text.startsWith('"') ? `"${text.replace(/"/g, '""')}"` : text);
  // As the group level reads tables: tabs, semicolons or commas, quotes, any line ends, blank lines.
  const rowsOf = (text) => {
    const head = text.split(/[\r\n]/).find((line) => line.trim()) ?? "";
    const separator = ["\t", ";", ","].find((one) => head.includes(one)) ?? "\t";
    const table = [[""]];
    let quoted = false;
    for (let at = 0; at < text.length; at += 1) {
      const letter = text[at], row = table[table.length - 1], last = row.length - 1;
      if (quoted && letter === '"' && text[at + 1] === '"') row[last] += text[(at += 1)];
      else if (letter === '"' && (quoted || row[last] === "")) quoted = !quoted;
      else if (!quoted && letter === separator) row.push("");
      else if (!quoted && /[\r\n]/.test(letter)) table.push([""]);
      else row[last] += letter;
    }
    return table.map((row) => row.map((cell) => cell.trim())).filter((row) => row.some((cell) => cell));
  };
  let unsaved = false;

  const say = () => {
    const decided = rows.filter((row) => parts(row)[0].value).length;
    state.textContent = `${decided} of ${rows.length} decided${unsaved ? ", not saved" : ""}`;
    const open = document.getElementById("qc-open").checked;
    for (const row of rows) row.hidden = open && parts(row)[0].value !== "";
  };
  const changed = (event) => {
    if (event.target.closest("tbody")) {
      unsaved = true;
      const cell = event.target.closest("td");
      if (event.target.tagName === "SELECT") cell.dataset.sort = event.target.value;
    }
    say();
  };
  form.addEventListener("input", changed);
  // A browser may fill a form with what stood there before a reload.
  form.reset();
  say();

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const lines = rows.map((row) => {
      const [decision, comment] = parts(row);
      return [row.dataset.participant, row.dataset.session, decision.value || "n/a", written(plain(comment.value))].join("\t");
    });
    const text = ["participant_id\tsession_id\tdecision\tcomment", ...lines.sort()].join("\n") + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
    link.download = "qc.tsv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    unsaved = false;
    say();
  });

  document.getElementById("qc-file").addEventListener("change", async (event) => {
    const file = event.target.files[0];
    if (!file) return;
    const [head, ...lines] = rowsOf(await file.text());
    const at = Object.fromEntries((head ?? []).map((name, column) => [name.toLowerCase(), column]));
    if (!["participant_id", "session_id", "decision", "comment"].every((name) => name in at)) {
      state.textContent = `${file.name} is no table of decisions.`;
      return;
    }
    const known = new Map(rows.map((row) => [`${row.dataset.participant}\t${row.dataset.session}`, row]));
    let read = 0;
    for (const line of lines) {
      const row = known.get(`${line[at.participant_id]}\t${line[at.session_id] || "n/a"}`);
      if (!row) continue;
      const [decision, comment] = parts(row), value = (name) => (line[at[name]] === "n/a" ? "" : line[at[name]] ?? "");
      decision.value = ["keep", "exclude"].includes(value("decision")) ? value("decision") : "";
      decision.closest("td").dataset.sort = decision.value;
      comment.value = value("comment");
      read += 1;
    }
    unsaved = true;
    say();
    state.textContent += `; ${read} of ${lines.length} lines read`;
  });

  window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
}
