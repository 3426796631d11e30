"use strict";
// All text comes from a model: it is only ever set as textContent.
const data = JSON.parse(document.getElementById("data").textContent);
const nodes = data.nodes;
const children = nodes.map(() => []);
nodes.forEach((node, index) => { if (index) children[node.parent].push(index); });
children.forEach(list => list.sort((a, b) => nodes[b].visits - nodes[a].visits || nodes[b].q - nodes[a].q));
const depth = nodes.map(() => 0);
nodes.forEach((node, index) => { if (index) depth[index] = depth[node.parent] + 1; });
const best = new Set(data.best);
const tree = document.getElementById("tree");
const detail = document.getElementById("detail");
const search = document.getElementById("search");
const REASONS = { answered: "answer", max_depth: "too deep", code_error: "code fails", unparsable: "no step",
  no_valid_candidate: "no valid step", too_long: "no room", given_up: "given up" };
let open = new Set(), here = data.best.at(-1) ?? 0, found = new Set(), rows = [];

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}
function signed(value) { return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2); }
function firstLine(node) { return node.body === null ? "start" : node.body.split("\n").find(line => line.trim()) ?? ""; }
function verdict(node) {
  if (node.reward === null) return ["", ""];
  return node.reward > 0 ? ["right", "✓ right"] : node.reward < 0 ? ["wrong", "✗ wrong"] : ["unsure", "? undecided"];
}
function reason(node) {
  const [kind, text] = verdict(node);
  if (!node.terminal) return [kind, text];
  if (node.terminal === "answered") return [kind, text];
  return ["wrong", "✗ " + (REASONS[node.terminal] ?? node.terminal)];
}
function visible() {
  const list = [];
  const walk = index => { list.push(index); if (open.has(index)) children[index].forEach(walk); };
  walk(0);
  return list;
}
function row(index) {
  const node = nodes[index], line = make("div", "row");
  line.setAttribute("role", "treeitem");
  line.setAttribute("aria-level", depth[index] + 1);
  line.dataset.index = index;
  line.style.paddingLeft = 12 + 18 * depth[index] + "px";
  if (children[index].length) line.setAttribute("aria-expanded", open.has(index));
  line.classList.toggle("best", best.has(index));
  line.classList.toggle("here", index === here);
  line.classList.toggle("found", found.has(index));
  line.classList.toggle("idle", index > 0 && !node.visits);
  const count = children[index].length;
  line.append(make("span", "twist", count ? (open.has(index) ? "▾" : "▸") : ""));
  line.append(make("span", "text", firstLine(node)));
  if (node.output.trim()) line.append(make("span", "out", "→ " + node.output.trim().split("\n").at(-1)));
  if (data.chosen.includes(index)) line.append(make("span", "mark right", "▲ preferred"));
  if (data.rejected.includes(index)) line.append(make("span", "mark wrong", "▼ rejected"));
  const [kind, text] = reason(node);
  if (text) line.append(make("span", "mark " + kind, text));
  line.append(make("span", "numbers", "N " + node.visits), make("span", "numbers", "Q " + signed(node.q)));
  return line;
}
function draw() {
  rows = visible();
  const all = document.createDocumentFragment();
  rows.forEach(index => all.append(row(index)));
  tree.replaceChildren(all);
  show();
}
function show() {
  const node = nodes[here], parts = [];
  const titled = (title, element) => parts.push(make("h2", "", title), element);
  if (node.body !== null) titled(node.kind === "answer" ? "Answer step" : "Step " + depth[here], make("pre", "", node.body));
  if (node.output) titled("It printed", make("pre", "", node.output));
  const table = make("table"), fact = (name, value, kind) => {
    if (value === null || value === undefined || value === "") return;
    const line = make("tr");
    line.append(make("td", "", name), make("td", kind, value));
    table.append(line);
  };
  const [kind, text] = reason(node);
  fact("Verdict", text, kind);
  fact("Answer", node.answer);
  fact("True value here", data.states[depth[here] - 1]);
  fact("Visits N", node.visits);
  fact("Q", signed(node.q));
  fact("Score by the guide", signed(node.prior));
  fact("Samples of this text", here ? node.samples : null);
  fact("Children", children[here].length || null);
  fact("Node", here);
  titled("Numbers", table);
  detail.replaceChildren(...parts);
}
function reveal(index) {
  for (let up = nodes[index].parent; up >= 0; up = nodes[up].parent) open.add(up);
}
function go(index) {
  here = index;
  reveal(index);
  draw();
  tree.querySelector(".here")?.scrollIntoView({ block: "nearest" });
}
function bestPath() {
  open = new Set([0]);
  data.best.forEach(index => open.add(index));
  go(data.best.at(-1) ?? 0);
}
function move(by) {
  const place = rows.indexOf(here) + by;
  if (place >= 0 && place < rows.length) go(rows[place]);
}
function lookFor(text) {
  const wanted = text.trim().toLowerCase();
  found = new Set();
  if (wanted) nodes.forEach((node, index) => {
    if (((node.body ?? "") + "\n" + node.output + "\n" + (node.answer ?? "")).toLowerCase().includes(wanted)) found.add(index);
  });
  found.forEach(reveal);
  document.getElementById("hits").textContent = wanted ? found.size + (found.size === 1 ? " node" : " nodes") : "";
  if (found.size) go(Math.min(...found)); else draw();
}

document.getElementById("question").textContent = data.question;
document.getElementById("facts").textContent = data.facts;
document.getElementById("best").addEventListener("click", bestPath);
document.getElementById("open").addEventListener("click", () => { open = new Set(nodes.keys()); draw(); });
document.getElementById("close").addEventListener("click", () => { open = new Set(); here = 0; draw(); });
search.addEventListener("input", () => lookFor(search.value));
tree.addEventListener("click", event => {
  const line = event.target.closest(".row");
  if (!line) return;
  const index = Number(line.dataset.index);
  if (event.target.closest(".twist") || index === here) open.has(index) ? open.delete(index) : open.add(index);
  go(index);
});
document.addEventListener("keydown", event => {
  if (event.target === search) { if (event.key === "Escape") tree.focus(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const act = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    ArrowRight: () => { if (open.has(here) || !children[here].length) move(1); else { open.add(here); draw(); } },
    ArrowLeft: () => { if (open.delete(here)) draw(); else if (here) go(nodes[here].parent); },
    b: bestPath,
    "/": () => search.focus(),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
});
bestPath();
