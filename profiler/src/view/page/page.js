"use strict";
// The flame graph: reads its data from the page, draws what is wide enough to be seen, zooms and searches.
(() => {
  const data = document.getElementById("flame-data");
  if (!data) return;
  const graph = document.getElementById("flame-graph");
  const status = document.getElementById("flame-status");
  const search = document.getElementById("flame-search");
  const found = document.getElementById("flame-found");
  const ROW = 20;
  // Narrower frames, as a share of the graph, are not drawn until somebody zooms in.
  const NARROWEST = 0.0012;

  const nodes = read(JSON.parse(data.textContent));
  const root = nodes[0];
  let zoomed = root;
  let current = root;
  let term = "";

  // Four numbers for each node: depth, name, kind, microseconds; those above come before those below.
  function read({ names, kinds, nodes: numbers }) {
    const all = [];
    const above = [];
    for (let at = 0; at < numbers.length; at += 4) {
      const depth = numbers[at];
      const parent = depth > 0 ? above[depth - 1] : null;
      const node = {
        depth, parent, name: names[numbers[at + 1]], kind: kinds[numbers[at + 2]],
        total: numbers[at + 3], start: 0, used: 0, children: [], frame: null,
      };
      if (parent) {
        node.start = parent.start + parent.used;
        parent.used += node.total;
        parent.children.push(node);
      }
      above[depth] = node;
      all.push(node);
    }
    return all;
  }

  function time(micros) {
    const units = [[1e6, "s"], [1e3, "ms"], [1, "µs"]];
    const [size, unit] = units.find(([size]) => micros >= size) || units[2];
    return `${(micros / size).toPrecision(3)} ${unit}`;
  }

  function says(node) {
    const share = (part, whole) => `${((100 * part) / whole).toPrecision(3)} %`;
    const of = node === root ? "" : `, ${share(node.total, root.total)} of all`;
    return `${node.name}: ${time(node.total)}${of}`;
  }

  function draw() {
    nodes.forEach((node) => { node.frame = null; });
    const frames = document.createDocumentFragment();
    let deepest = zoomed.depth;
    for (let node = zoomed.parent; node; node = node.parent) frames.append(frame(node, 0, 1, true));
    const open = [zoomed];
    while (open.length) {
      const node = open.pop();
      const width = node.total / zoomed.total;
      if (width < NARROWEST && node !== zoomed) continue;
      frames.append(frame(node, (node.start - zoomed.start) / zoomed.total, width, false));
      deepest = Math.max(deepest, node.depth);
      open.push(...node.children);
    }
    graph.style.height = `${(deepest + 1) * ROW}px`;
    graph.replaceChildren(frames);
    if (!current.frame) current = zoomed;
    current.frame.tabIndex = 0;
  }

  function frame(node, left, width, isAbove) {
    const element = document.createElement("div");
    const kind = node.kind === "none" ? "" : ` k-${node.kind}`;
    element.className = `frame${kind}${isAbove ? " above" : ""}${matches(node) ? " found" : ""}`;
    element.textContent = node.name;
    element.setAttribute("role", "treeitem");
    element.setAttribute("aria-level", String(node.depth + 1));
    element.setAttribute("aria-label", says(node));
    element.tabIndex = -1;
    element.style.left = `${100 * left}%`;
    element.style.width = `${100 * Math.min(width, 1)}%`;
    element.style.top = `${node.depth * ROW}px`;
    element.node = node;
    node.frame = element;
    return element;
  }

  function show(node) { status.textContent = says(node); }

  function focus(node) {
    if (!node || !node.frame) return;
    current.frame.tabIndex = -1;
    current = node;
    node.frame.tabIndex = 0;
    node.frame.focus();
  }

  function zoom(node) {
    zoomed = node;
    current = node;
    draw();
    node.frame.focus();
  }

  function beside(node, by) {
    const all = node.parent ? node.parent.children.filter((child) => child.frame) : [];
    return all[all.indexOf(node) + by];
  }

  function matches(node) { return term !== "" && node.name.toLowerCase().includes(term); }

  // What is found below something found is part of it already.
  function searched() {
    let total = 0;
    let number = 0;
    const open = [root];
    while (open.length) {
      const node = open.pop();
      if (matches(node)) {
        total += node.total;
        number += 1;
      } else {
        open.push(...node.children);
      }
    }
    const share = ((100 * total) / root.total).toPrecision(3);
    found.textContent = term === "" ? "" : `${number} found: ${time(total)}, ${share} % of all`;
  }

  graph.addEventListener("click", (event) => { if (event.target.node) zoom(event.target.node); });
  graph.addEventListener("focusin", (event) => { if (event.target.node) show(event.target.node); });
  graph.addEventListener("mouseover", (event) => { if (event.target.node) show(event.target.node); });
  graph.addEventListener("keydown", (event) => {
    const moves = {
      ArrowUp: () => focus(current.parent),
      ArrowDown: () => focus(current.children.find((child) => child.frame)),
      ArrowLeft: () => focus(beside(current, -1)),
      ArrowRight: () => focus(beside(current, 1)),
      Home: () => focus(root),
      Enter: () => zoom(current),
      " ": () => zoom(current),
      Escape: () => zoom(root),
      Backspace: () => zoom(zoomed.parent || root),
    };
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    move();
  });
  search.addEventListener("input", () => {
    term = search.value.trim().toLowerCase();
    searched();
    draw();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target === search) return;
    event.preventDefault();
    search.focus();
  });

  draw();
  show(root);
})();
