// What saves a way round in the console. Everything but files to import and live figures works without it.
"use strict";

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// One box for all rows of a list.
for (const box of all("[data-all]")) {
  const rows = all("input[name=row]", box.closest("table"));
  box.hidden = false;
  box.addEventListener("change", () => rows.forEach((row) => { row.checked = box.checked; }));
  rows.forEach((row) => row.addEventListener("change", () => { box.checked = rows.every((row) => row.checked); }));
}

// Of the comparisons only those that fit the column.
for (const line of all(".filter")) {
  const [column, operator] = all("select", line);
  const words = [...operator.options];
  const fit = () => {
    const fitting = column.selectedOptions[0].dataset.operators?.split(" ");
    const chosen = operator.value;
    operator.replaceChildren(...words.filter((word) => !fitting || fitting.includes(word.value)));
    if ([...operator.options].some((word) => word.value === chosen)) operator.value = chosen;
    bare();
  };
  // Some compare with nothing.
  const value = line.querySelector("input");
  const bare = () => { value.hidden = ["yes", "no", "null", "notnull"].includes(operator.value); };
  column.addEventListener("change", fit);
  operator.addEventListener("change", bare);
  fit();
}

// An address says no more than it has to.
for (const form of all("form.filters")) {
  form.addEventListener("submit", () => {
    for (const line of all(".filter", form)) {
      if (line.querySelector("select").value === "") all("select, input", line).forEach((part) => { part.disabled = true; });
    }
    const shown = all("[name=show]", form);
    if (shown.every((box) => box.checked)) shown.forEach((box) => { box.disabled = true; });
    const word = form.elements.q;
    if (word.value.trim() === "") word.disabled = true;
  });
}

// Long lists of tables.
for (const input of all("[data-find]")) {
  input.parentElement.hidden = false;
  input.addEventListener("input", () => {
    const word = input.value.trim().toLowerCase();
    for (const item of all("li", input.closest("nav"))) item.hidden = !item.textContent.toLowerCase().includes(word);
  });
}

// Whoever writes into a field does not mean NULL.
for (const box of all(".null input")) {
  const field = box.closest(".put").querySelector("input, textarea");
  field.addEventListener("input", () => { if (field.value !== "") box.checked = false; });
  box.addEventListener("change", () => { if (box.checked) field.value = ""; });
}

// JSON is looked at while it is written.
for (const area of all("textarea[data-json]")) {
  const look = () => {
    let wrong = "";
    try { if (area.value.trim() !== "") JSON.parse(area.value); } catch (error) { wrong = error.message; }
    area.setCustomValidity(wrong);
  };
  area.addEventListener("input", look);
}

// A key of another table is found by what its rows are known by.
for (const input of all("[data-pick]")) {
  const list = document.createElement("ul");
  list.className = "choices";
  list.id = input.id + "-choices";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", input.labels[0]?.firstChild.textContent.trim() || "");
  list.hidden = true;
  input.after(list);
  for (const [name, value] of [["role", "combobox"], ["aria-expanded", "false"], ["aria-controls", list.id], ["aria-autocomplete", "list"]]) {
    input.setAttribute(name, value);
  }
  let asked = 0, at = -1, timer;
  const close = () => { list.hidden = true; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); at = -1; };
  const choose = (item) => { input.value = item.dataset.value; close(); input.dispatchEvent(new Event("input", { bubbles: true })); clearTimeout(timer); };
  const show = async () => {
    const number = ++asked;
    const answer = await fetch(input.dataset.pick + "&q=" + encodeURIComponent(input.value), { headers: { accept: "application/json" } });
    if (!answer.ok || number !== asked) return;
    const found = await answer.json();
    if (number !== asked || document.activeElement !== input) return;
    list.replaceChildren(...found.map(({ value, label }, index) => {
      const item = document.createElement("li");
      item.id = list.id + index;
      item.setAttribute("role", "option");
      item.dataset.value = value;
      item.textContent = label === value ? value : value + " · " + label;
      item.addEventListener("mousedown", (event) => { event.preventDefault(); choose(item); });
      return item;
    }));
    at = -1;
    list.hidden = found.length === 0;
    input.setAttribute("aria-expanded", String(found.length > 0));
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(show, 120); };
  input.addEventListener("input", (event) => { if (event.isTrusted) soon(); });
  input.addEventListener("focus", soon);
  input.addEventListener("blur", () => { clearTimeout(timer); close(); });
  input.addEventListener("keydown", (event) => {
    const items = [...list.children];
    if (event.key === "Escape") close();
    if (list.hidden || !items.length) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      at = (at + (event.key === "ArrowDown" ? 1 : items.length - (at < 0 ? 0 : 1))) % items.length;
      items.forEach((item, index) => item.setAttribute("aria-selected", String(index === at)));
      items[at].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", items[at].id);
    } else if (event.key === "Enter" && at >= 0) {
      event.preventDefault();
      choose(items[at]);
    }
  });
}

// Lines that can be copied.
for (const block of all("pre[data-copy]")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = block.dataset.copy;
  const text = block.textContent;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = block.dataset.copied;
  });
  block.append(button);
}

// A file is sent as it is, looked at first, and stored as a whole or not at all.
for (const form of all("[data-import]")) {
  const file = form.querySelector("[type=file]");
  const [format, text] = [form.elements.format, form.elements.text];
  const [go, progress] = [form.querySelector("[data-go]"), form.querySelector("[data-progress]")];
  const [bar, said] = [progress.querySelector("progress"), progress.querySelector("span")];
  const preview = document.querySelector("[data-preview]");
  const changed = () => { go.hidden = true; preview.replaceChildren(); };
  file.addEventListener("change", () => {
    if (file.files[0]) format.value = /json$/i.test(file.files[0].name) ? "json" : "csv";
    changed();
  });
  text.addEventListener("input", changed);
  const send = (run, body) => new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action + (run ? "?run=1" : ""));
    request.setRequestHeader("content-type", format.value === "json" ? "application/json" : "text/csv");
    request.setRequestHeader("x-rowhouse-form", form.elements._key.value);
    request.upload.onprogress = (event) => {
      bar.value = event.total ? 100 * event.loaded / event.total : 0;
      said.textContent = form.dataset.sending + " " + Math.round(bar.value) + " %";
    };
    request.upload.onload = () => { bar.removeAttribute("value"); said.textContent = form.dataset.working; };
    request.onload = () => done(request);
    request.onerror = failed;
    request.send(body);
  });
  form.addEventListener("submit", async (event) => {
    if (!file.files[0]) return; // a text goes its usual way
    event.preventDefault();
    progress.hidden = false;
    try {
      const answer = await send(event.submitter?.value === "run", file.files[0]);
      const to = answer.getResponseHeader("x-rowhouse-next");
      if (to) { location.assign(to); return; }
      if (answer.status !== 200) throw new Error(answer.status === 413 ? form.dataset.large : answer.status);
      preview.innerHTML = answer.responseText; // our own page's part: values in it are escaped where it is made
      const good = preview.querySelector("[data-good]");
      go.hidden = !good;
      if (good) go.textContent = form.dataset.run.replace("{}", good.dataset.good);
    } catch (error) {
      const problem = document.createElement("p");
      problem.className = "problem";
      problem.setAttribute("role", "alert");
      problem.textContent = form.dataset.failed + " " + (error.message || "");
      preview.replaceChildren(problem);
    } finally {
      progress.hidden = true;
    }
  });
}

// Numbers that are live: a part of the page is fetched again every few seconds.
for (const part of all("[data-live]")) {
  const again = async () => {
    // Nobody loses what they are about to press, nor what they have marked to copy.
    const at = document.activeElement;
    const busy = (part.contains(at) && at.matches("a, button, input, select")) || !getSelection().isCollapsed;
    if (!document.hidden && !busy) {
      try {
        const answer = await fetch(part.dataset.live, { headers: { "x-rowhouse-part": "1" } });
        if (answer.ok && !answer.redirected) {
          const scrolled = all(".wrap", part).map((frame) => [frame.scrollLeft, frame.scrollTop]);
          part.innerHTML = await answer.text();
          all(".wrap", part).forEach((frame, at) => { if (scrolled[at]) [frame.scrollLeft, frame.scrollTop] = scrolled[at]; });
        } else if (answer.status === 401) {
          location.reload(); // the session has ended
        }
      } catch { /* the edge is away: the numbers stay as they are */ }
    }
    setTimeout(again, 2000);
  };
  setTimeout(again, 2000);
}

// The first thing that is wrong.
document.querySelector("[aria-invalid]")?.focus();
