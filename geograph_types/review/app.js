// The review app: draws what Python sends, and sends back what a person does. No build step, no network.
// Text from outside only ever goes through textContent; pictures are bytes from Python or addresses that it allowed.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties, and children that are elements or text. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function s(tag, attributes = {}, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const percent = (value) => `${Math.round(100 * value)}%`;
const count = (value) => value.toLocaleString("en-GB");
const same = (one, other) => one.size === other.size && [...one].every((tag) => other.has(tag));

/** Where the subject and the camera are, with the lines of the grid. */
function map(view) {
  const points = [view.subject, view.viewpoint].filter(Boolean);
  const spans = [0, 1].map((axis) => {
    const values = points.flatMap((point) => [point[axis], point[axis] + point[2]]);
    return [Math.min(...values), Math.max(...values)];
  });
  const side = Math.max(2200, 1.35 * Math.max(...spans.map(([low, high]) => high - low)));
  const [west, south] = spans.map(([low, high]) => (low + high) / 2 - side / 2);
  const step = side > 400000 ? 100000 : side > 30000 ? 10000 : 1000;
  const size = 260;
  const x = (eastings) => ((eastings - west) / side) * size;
  const y = (northings) => size - ((northings - south) / side) * size;
  const words = `Map: ${view.words}`;
  const drawn = s("svg", { viewBox: `0 0 ${size} ${size}`, class: "gr-map", role: "img", "aria-label": words });
  if (step === 1000) {
    const corners = new Set(points.map(([eastings, northings]) => [eastings, northings].map((metres) => Math.floor(metres / 1000) * 1000).join()));
    for (const corner of corners) {
      const [east, north] = corner.split(",").map(Number);
      drawn.append(s("rect", { x: x(east), y: y(north + 1000), width: (1000 / side) * size, height: (1000 / side) * size, class: "gr-home" }));
    }
  }
  const label = (metres) => String(Math.floor((metres % 100000) / step)).padStart(step === 1000 ? 2 : 1, "0");
  for (let line = Math.ceil(west / step) * step; line <= west + side; line += step) {
    drawn.append(s("line", { x1: x(line), x2: x(line), y1: 0, y2: size, class: "gr-line" }));
    if (x(line) < size - 24) drawn.append(s("text", { x: x(line) + 3, y: size - 5, class: "gr-figure" }, label(line)));
  }
  for (let line = Math.ceil(south / step) * step; line <= south + side; line += step) {
    drawn.append(s("line", { x1: 0, x2: size, y1: y(line), y2: y(line), class: "gr-line" }));
    if (y(line) > 20) drawn.append(s("text", { x: 4, y: y(line) - 4, class: "gr-figure" }, label(line)));
  }
  const middle = ([eastings, northings, precision]) => [x(eastings + precision / 2), y(northings + precision / 2)];
  const square = ([eastings, northings, precision], kind) => {
    const edge = (precision / side) * size;
    if (edge > 12) drawn.append(s("rect", { x: x(eastings), y: y(northings) - edge, width: edge, height: edge, class: `gr-square gr-${kind}` }));
  };
  if (view.subject) square(view.subject, "subject");
  if (view.viewpoint) square(view.viewpoint, "viewpoint");
  if (view.subject && view.viewpoint) {
    const [[x1, y1], [x2, y2]] = [middle(view.viewpoint), middle(view.subject)];
    drawn.append(s("line", { x1, y1, x2, y2, class: "gr-sight" }));
  }
  if (view.viewpoint) {
    const [cx, cy] = middle(view.viewpoint);
    drawn.append(s("circle", { cx, cy, r: 6, class: "gr-viewpoint" }));
  }
  if (view.subject) {
    const [cx, cy] = middle(view.subject);
    drawn.append(s("path", { d: `M${cx} ${cy - 8}l8 8l-8 8l-8 -8z`, class: "gr-subject" }));
  }
  return drawn;
}

/** What stands for a photograph that is not there: a landscape of its number. */
function placeholder(id) {
  const dice = (n) => ((id * 2654435761 + n * 40503) % 1000) / 1000;
  const drawn = s("svg", { viewBox: "0 0 400 300", class: "gr-placeholder", "aria-hidden": "true", preserveAspectRatio: "xMidYMid slice" });
  drawn.append(s("rect", { width: 400, height: 300, class: "gr-sky" }));
  drawn.append(s("circle", { cx: 80 + 240 * dice(1), cy: 70 + 30 * dice(2), r: 24, class: "gr-sun" }));
  for (const layer of [0, 1, 2]) {
    const base = 170 + 45 * layer;
    const [a, b, c] = [3, 4, 5].map((n) => base - 60 * dice(n + 7 * layer) * (1 - layer / 4));
    drawn.append(s("path", { d: `M0 ${a}C110 ${b} 150 ${c} 230 ${b}S350 ${a} 400 ${c}V300H0Z`, class: `gr-hill gr-hill${layer}` }));
  }
  return drawn;
}

const HELP = [
  ["Enter", "keep the ticked tags"], ["1 … 9, 0", "tick or untick a tag"], ["g", "tick what people had given"],
  ["m", "tick what the model proposes"], ["u", "unsure"], ["s", "skip"], ["z", "take the last answer back"],
  ["n or →", "next, without an answer"], ["b or ←", "back"], ["r", "show what is hidden"],
  ["v", "one photograph, or twenty"], ["/", "find a tag"], ["?", "these keys"],
];

class App {
  constructor(model, el) {
    this.model = model;
    this.addresses = [];
    this.root = h("div", { class: "gr", tabindex: "0", role: "application", "aria-label": "Review of tags", "data-lm-suppress-shortcuts": "true" });
    if (model.get("alone")) {
      this.root.classList.add("gr-alone");
      document.documentElement.classList.add("gr-page");
      document.title = "Review";
    }
    this.live = h("div", { class: "gr-live", "aria-live": "polite" });
    this.bar = h("div", { class: "gr-top" });
    this.main = h("div", { class: "gr-main" }, h("p", { class: "gr-wait" }, "Opening the queue …"));
    this.foot = h("div", { class: "gr-foot" });
    this.root.append(this.bar, this.main, this.foot, this.live);
    this.root.addEventListener("keydown", (event) => this.key(event));
    el.append(this.root);
    this.heard = (content, buffers) => this.hear(content, buffers);
    model.on("msg:custom", this.heard);
    this.send({ do: "show" });
  }

  close() {
    this.model.off("msg:custom", this.heard);
    this.forget();
  }

  send(message) {
    this.waiting = true;
    this.root.classList.add("gr-waiting");
    this.sent = performance.now();
    this.model.send(message);
  }

  forget() {
    this.addresses.forEach((address) => URL.revokeObjectURL(address));
    this.addresses = [];
  }

  hear(content, buffers) {
    this.waiting = false;
    this.root.classList.remove("gr-waiting");
    if (content.facts) this.facts = content.facts;
    if (content.progress) this.progress = content.progress;
    this.live.classList.remove("gr-told");
    if (content.kind === "error") return this.say(content.text, true);
    if (content.kind === "marked") this.mark(content);
    if (content.kind === "one" || content.kind === "grid" || content.kind === "end") {
      this.forget();
      this.view = content;
      this.buffers = buffers || [];
      this.shown = performance.now();
      this.draw();
    } else this.drawBar();
    if (content.said) this.say(content.said);
    this.root.dataset.took = Math.round(performance.now() - this.sent);
  }

  say(text, wrong = false) {
    this.live.textContent = text;
    this.live.classList.toggle("gr-wrong", wrong);
    this.live.classList.add("gr-told");
    clearTimeout(this.timer);
    if (!wrong) this.timer = setTimeout(() => this.live.classList.remove("gr-told"), 2500);
  }

  // ---- drawing

  draw() {
    const inside = this.root.contains(document.activeElement) && document.activeElement.tagName !== "INPUT";
    const first = !this.begun;
    this.begun = true;
    this.drawBar();
    this.at = 0;
    this.chosen = (this.view.cards || []).map((card) => new Set(card.ticked));
    const draw = { one: () => this.one(), grid: () => this.grid(), end: () => this.end() }[this.view.kind];
    this.main.replaceChildren(...draw());
    this.main.className = `gr-main gr-main-${this.view.kind}`;
    this.drawFoot();
    this.root.scrollTop = 0;
    if (this.view.kind === "grid") (this.main.querySelector(".gr-card") || this.root).focus({ preventScroll: true });
    else if (inside || (first && this.model.get("alone"))) this.root.focus({ preventScroll: true });
  }

  drawBar() {
    const { done, total, each, same: alike, judged, alpha } = this.progress;
    const facts = [`${count(done)} of ${count(total)}`];
    if (each) facts.push(`${each < 10 ? each.toFixed(1) : Math.round(each)} s each, ${count(Math.round(3600 / each))} an hour`);
    if (judged) facts.push(`${percent(alike / judged)} as the model proposed`);
    if (alpha !== null && alpha !== undefined) facts.push(`α ${alpha.toFixed(2)} with others`);
    const meter = h("div", { class: "gr-meter", role: "progressbar", "aria-valuenow": done, "aria-valuemin": 0, "aria-valuemax": total, "aria-label": "progress" }, h("i"));
    meter.firstChild.style.width = total ? `${(100 * done) / total}%` : "0";
    this.bar.replaceChildren(
      meter,
      h("div", { class: "gr-status" },
        h("strong", {}, this.facts.reviewer),
        ...facts.map((fact) => h("span", {}, fact))),
      this.filters || (this.filters = this.makeFilters()),
      this.tools || (this.tools = this.makeTools()),
    );
    this.tools.firstChild.textContent = this.view?.kind === "grid" ? "One" : "Twenty";
  }

  makeFilters() {
    const choose = (name, label, options) => {
      if (options.length < 2) return null;
      const select = h("select", { "aria-label": label, onchange: () => this.filter(name, select.value) },
        h("option", { value: "" }, label),
        ...options.map(([value, words, number]) => h("option", { value }, `${words} (${count(number)})`)));
      return select;
    };
    const { kinds, tags, contributors } = this.facts;
    const person = contributors.length < 2 ? null : h("input", {
      list: "gr-people", type: "search", placeholder: "any contributor", "aria-label": "contributor",
      onchange: (event) => this.filter("contributor", event.target.value),
    });
    const people = h("datalist", { id: "gr-people" }, ...contributors.map(([name, number]) => h("option", { value: name }, `${name} (${count(number)})`)));
    return h("div", { class: "gr-filters" }, choose("kind", "every reason", kinds), choose("tag", "every tag", tags.map(([tag, number]) => [tag, tag, number])), person, people);
  }

  makeTools() {
    return h("div", { class: "gr-tools" },
      h("button", { class: "gr-small", title: "v", "aria-label": "one photograph, or twenty", onclick: () => this.mode() }),
      h("button", { class: "gr-small", title: "?", "aria-label": "keys", onclick: () => this.help() }, "?"));
  }

  filter(name, value) {
    this.send({ do: "filter", [name]: value });
    this.root.focus({ preventScroll: true });
  }

  mode() {
    this.send({ do: "mode", mode: this.view?.kind === "grid" ? "one" : "grid" });
  }

  picture(card, lazy) {
    const frame = h("div", { class: "gr-picture" });
    const drawn = () => frame.replaceChildren(placeholder(card.id), h("span", { class: "gr-none" }, card.photo?.why || "the photograph did not come"));
    let source = card.photo?.address;
    if (card.photo && card.photo.buffer !== undefined) {
      source = URL.createObjectURL(new Blob([this.buffers[card.photo.buffer]], { type: "image/jpeg" }));
      this.addresses.push(source);
    }
    if (source) {
      frame.append(h("img", { src: source, alt: card.title || `photograph ${card.id}`, loading: lazy ? "lazy" : null, referrerpolicy: "no-referrer", decoding: "async", onerror: drawn }));
    } else drawn();
    return frame;
  }

  reason(card) {
    return h("div", { class: `gr-reason gr-kind-${card.kind}` }, h("span", { class: "gr-dot", "aria-hidden": "true" }),
      h("div", {}, h("p", {}, card.reason), card.tag ? h("p", { class: "gr-about" }, "about ", h("b", {}, card.tag)) : null));
  }

  caption(card) {
    const credit = card.realname ? `© ${card.realname}` : "";
    return h("figcaption", { class: "gr-caption" },
      h("h2", {}, card.title || "without a title"),
      h("p", {}, [credit, card.taken, card.square].filter(Boolean).join(" · "), " ",
        h("a", { href: card.page, target: "_blank", rel: "noopener noreferrer" }, `photo ${card.id} on Geograph`)));
  }

  tags(card, number) {
    const ticked = this.chosen[number];
    const given = new Set(card.given || []);
    const possible = new Set(card.possible || []);
    const rows = card.tags.map((tag, place) => {
      const key = place < 10 ? String((place + 1) % 10) : null;
      const track = tag.probability === null ? null : h("span", { class: "gr-track", title: `${percent(tag.probability)}, ${tag.threshold === null ? "never proposed" : `threshold ${percent(tag.threshold)}`}` }, h("i"), tag.threshold === null ? null : h("b"));
      if (track) {
        track.children[0].style.width = percent(tag.probability);
        if (tag.threshold !== null) track.children[1].style.left = percent(tag.threshold);
        track.classList.toggle("gr-over", tag.threshold !== null && tag.probability >= tag.threshold);
      }
      return h("button", { class: "gr-tag", type: "button", role: "checkbox", "aria-checked": String(ticked.has(tag.name)), onclick: () => this.toggle(number, tag.name) },
        h("span", { class: "gr-tick", "aria-hidden": "true" }),
        h("span", { class: "gr-name" }, tag.name, given.has(tag.name) ? h("em", {}, "given") : null,
          possible.has(tag.name) && !(card.proposed || []).includes(tag.name) ? h("em", {}, "may be") : null),
        track, h("span", { class: "gr-number" }, tag.probability === null ? "" : percent(tag.probability)),
        key && this.view.kind === "one" ? h("kbd", {}, key) : null);
    });
    const list = h("div", { class: "gr-tags", role: "group", "aria-label": "tags" }, ...rows);
    list.dataset.number = number;
    return list;
  }

  one() {
    const [card] = this.view.cards;
    const more = card.more.length ? h("input", {
      class: "gr-find", type: "search", list: "gr-more", placeholder: "another tag  ( / )", "aria-label": "another tag",
      onchange: (event) => card.more.includes(event.target.value) && this.another(event.target.value),
    }) : null;
    const panel = h("div", { class: "gr-panel" },
      this.reason(card),
      card.hidden ? h("p", { class: "gr-hidden" }, "What the model says is hidden, so that your answer is your own. ", h("button", { class: "gr-link", onclick: () => this.send({ do: "reveal", id: card.id }) }, "Show it (r)")) : null,
      this.tags(card, 0), more,
      more ? h("datalist", { id: "gr-more" }, ...card.more.map((tag) => h("option", { value: tag }))) : null,
      card.map ? h("div", { class: "gr-where" }, map(card.map),
        h("div", { class: "gr-legend" },
          card.map.subject ? h("span", { class: "gr-is-subject" }, card.map.subject[3]) : null,
          card.map.viewpoint ? h("span", { class: "gr-is-viewpoint" }, card.map.viewpoint[3]) : null,
          h("span", { class: "gr-distance" }, card.distance)))
        : h("p", { class: "gr-where" }, `distance ${card.distance}`));
    return [h("figure", { class: "gr-photo" }, this.picture(card), this.caption(card)), panel];
  }

  grid() {
    const cards = this.view.cards.map((card, number) => {
      const ticked = this.chosen[number];
      const body = h("article", { class: "gr-card", tabindex: "0", "aria-label": card.title || `photograph ${card.id}`, onfocusin: () => { this.at = number; } },
        this.picture(card, true),
        h("div", { class: "gr-text" }, h("h3", {}, card.title || "without a title"),
          h("p", {}, card.realname ? `© ${card.realname} ` : "", h("a", { href: card.page, target: "_blank", rel: "noopener noreferrer", tabindex: "-1" }, String(card.id))),
          h("p", { class: `gr-why gr-kind-${card.kind}` }, h("span", { class: "gr-dot" }), card.reason),
          card.hidden ? h("p", {}, "What the model says is hidden: tick what you see.") : null),
        h("div", { class: "gr-chips", role: "group", "aria-label": "tags" }, ...card.tags.map((tag, place) => h("button", {
          class: "gr-chip", type: "button", role: "checkbox", tabindex: "-1", "aria-checked": String(ticked.has(tag.name)), title: tag.probability === null ? tag.name : `${tag.name} ${percent(tag.probability)}`,
          onclick: () => this.toggle(number, tag.name),
        }, place < 10 ? h("kbd", {}, String((place + 1) % 10)) : null, tag.name))),
        h("p", { class: "gr-verdict" }));
      if (card.answer) this.verdict(body, card.answer);
      return body;
    });
    return cards;
  }

  verdict(card, answer) {
    card.classList.toggle("gr-done", Boolean(answer));
    const tags = (answer?.labels || []).join(", ") || "no tag";
    card.querySelector(".gr-verdict").textContent = !answer ? "" : { skip: "skipped", unsure: "unsure" }[answer.decision] || `kept: ${tags}`;
  }

  mark({ marks }) {
    for (const { id, answer } of marks) {
      const number = this.view.cards.findIndex((card) => card.id === id);
      if (number < 0) continue;
      const card = this.main.children[number];
      this.view.cards[number].answer = answer;
      this.verdict(card, answer);
    }
    const open = this.view.cards.findIndex((card, number) => number > this.at && !card.answer);
    const left = open >= 0 ? open : this.view.cards.findIndex((card) => !card.answer);
    const target = marks.length && !marks[0].answer ? this.view.cards.findIndex((card) => card.id === marks[0].id) : left;
    if (target >= 0) this.main.children[target].focus();
    this.drawFoot();
  }

  end() {
    const { done, total } = this.progress;
    return [h("div", { class: "gr-end" }, placeholder(total), h("h2", {}, total ? "All of these are answered" : "Nothing fits this filter"),
      h("p", {}, total ? `${count(done)} of ${count(total)} photographs. Choose another filter, or go back with b.` : "Choose another one above."))];
  }

  drawFoot() {
    const icons = { Back: "‹", Undo: "↶", Next: "›" };
    const button = (words, key, action, kind = "") => h("button", { class: `gr-button ${kind}`, type: "button", "aria-label": words, onclick: action },
      icons[words] ? h("span", { class: "gr-icon", "aria-hidden": "true" }, icons[words]) : null, h("span", { class: "gr-words" }, words), h("kbd", {}, key));
    const kind = this.view.kind;
    const save = kind === "grid" ? `Keep the ${this.open().length} left` : kind === "one" && same(this.chosen[0], new Set(this.view.cards[0].proposed || [])) && !this.view.cards[0].hidden ? "Accept" : "Keep these tags";
    const key = kind === "grid" ? "⇧ Enter" : "Enter";
    this.foot.replaceChildren(
      button("Back", "b", () => this.send({ do: "back" }), "gr-quiet"),
      button("Undo", "z", () => this.send({ do: "undo" }), "gr-quiet"),
      h("span", { class: "gr-gap" }),
      ...(kind === "end" ? [] : [
        button("Skip", "s", () => this.answer("skip")),
        button("Unsure", "u", () => this.answer("unsure")),
        button(save, key, () => (kind === "grid" ? this.all() : this.answer("keep")), "gr-main-button"),
        button("Next", "n", () => this.send({ do: "next" }), "gr-quiet"),
      ]),
    );
  }

  // ---- doing

  toggle(number, tag) {
    const ticked = this.chosen[number];
    if (!ticked.delete(tag)) ticked.add(tag);
    const card = this.view.kind === "grid" ? this.main.children[number] : this.main;
    const buttons = card.querySelectorAll("[role=checkbox]");
    this.view.cards[number].tags.forEach(({ name }, place) => buttons[place].setAttribute("aria-checked", String(ticked.has(name))));
    this.drawFoot();
  }

  setTo(tags) {
    const card = this.view.cards[this.at];
    if (!tags || card.hidden) return;
    for (const { name } of card.tags) if (tags.includes(name) !== this.chosen[this.at].has(name)) this.toggle(this.at, name);
  }

  another(tag) {
    const [card] = this.view.cards;
    card.tags.push({ name: tag, probability: null, threshold: null });
    card.more = card.more.filter((other) => other !== tag);
    this.chosen[0].add(tag);
    this.main.querySelector(".gr-tags").replaceWith(this.tags(card, 0));
    this.main.querySelector(".gr-find").value = "";
    this.drawFoot();
    this.root.focus({ preventScroll: true });
  }

  said(number, decision) {
    const labels = decision === "keep" ? [...this.chosen[number]] : [];
    return { id: this.view.cards[number].id, decision, labels, seconds: (performance.now() - this.shown) / 1000 };
  }

  answer(decision) {
    if (this.waiting || this.view.kind === "end") return;
    const card = this.view.cards[this.at];
    if (decision === "keep" && card.hidden && !this.chosen[this.at].size && !card.none) {
      card.none = true;
      return this.say("Nothing is ticked. Once more, if no tag fits");
    }
    this.send({ do: "answer", answers: [this.said(this.at, decision)] });
    if (this.view.kind === "grid") this.shown = performance.now();
  }

  /** Those without an answer that can be kept; where the proposal is hidden, somebody has to have ticked something. */
  open() {
    const can = (card, number) => !card.answer && (!card.hidden || this.chosen[number].size);
    return this.view.cards.map((card, number) => (can(card, number) ? number : -1)).filter((number) => number >= 0);
  }

  all() {
    if (this.waiting) return;
    const answers = this.open().map((number) => this.said(number, "keep"));
    answers.forEach((answer) => { answer.seconds /= Math.max(1, answers.length); });
    this.send({ do: "answer", answers, turn: answers.length === this.view.cards.filter((card) => !card.answer).length });
  }

  move(by) {
    const cards = this.main.children;
    cards[Math.min(cards.length - 1, Math.max(0, this.at + by))]?.focus();
  }

  help() {
    const dialog = h("dialog", { class: "gr-help" }, h("h2", {}, "Keys"), h("dl", {}, ...HELP.flatMap(([key, words]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, words)])),
      h("form", { method: "dialog" }, h("button", { class: "gr-button" }, "Close")));
    dialog.addEventListener("close", () => { dialog.remove(); this.root.focus({ preventScroll: true }); });
    this.root.append(dialog);
    dialog.showModal();
  }

  key(event) {
    event.stopPropagation();
    const target = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("dialog")) return;
    if (["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName)) {
      if (event.key === "Escape") this.root.focus({ preventScroll: true });
      return;
    }
    const onButton = target.tagName === "BUTTON" || target.tagName === "A";
    if (onButton && (event.key === "Enter" || event.key === " ")) return; // presses it
    const grid = this.view?.kind === "grid";
    const across = grid ? Math.max(1, getComputedStyle(this.main).gridTemplateColumns.split(" ").length) : 1;
    const actions = {
      Enter: () => (grid && event.shiftKey ? this.all() : this.answer("keep")),
      a: () => this.answer("keep"), u: () => this.answer("unsure"), s: () => this.answer("skip"),
      z: () => this.send({ do: "undo" }), n: () => this.send({ do: "next" }), b: () => this.send({ do: "back" }),
      g: () => this.setTo(this.view.cards?.[this.at]?.given), m: () => this.setTo(this.view.cards?.[this.at]?.proposed),
      r: () => this.view.kind === "one" && this.view.cards[0].hidden && this.send({ do: "reveal", id: this.view.cards[0].id }),
      v: () => this.mode(), "?": () => this.help(), "/": () => this.main.querySelector(".gr-find")?.focus(),
      ArrowRight: () => (grid ? this.move(1) : this.send({ do: "next" })), ArrowLeft: () => (grid ? this.move(-1) : this.send({ do: "back" })),
      ...(grid ? { ArrowDown: () => this.move(across), ArrowUp: () => this.move(-across) } : {}),
    };
    if (/^[0-9]$/.test(event.key)) {
      const tag = this.view?.cards?.[this.at]?.tags[(Number(event.key) + 9) % 10];
      if (tag) this.toggle(this.at, tag.name);
    } else if (actions[event.key] && this.view && !(this.waiting && event.key !== "?")) actions[event.key]();
    else return;
    event.preventDefault();
  }
}

export default {
  render({ model, el }) {
    const app = new App(model, el);
    return () => app.close();
  },
};
