// What the page can do besides being read: its cards can be filtered, and all of it is printed.
"use strict";

for (const gallery of document.querySelectorAll(".gallery")) {
  const cards = [...gallery.querySelectorAll(".card")].map((card) => ({card, marks: JSON.parse(card.dataset.marks)}));
  const names = Object.keys(cards[0].marks[0]);
  const form = document.createElement("form");
  form.className = "filter";
  const count = document.createElement("output");
  const selects = names.map((name) => {
    const label = form.appendChild(document.createElement("label"));
    label.append(name);
    const select = label.appendChild(document.createElement("select"));
    select.name = name;
    select.add(new Option("all", ""));
    for (const value of new Set(cards.flatMap(({marks}) => marks.map((mark) => mark[name])))) select.add(new Option(value, value));
    return select;
  });
  form.append(count);
  const filter = () => {
    let shown = 0;
    for (const {card, marks} of cards) {
      card.hidden = !marks.some((mark) => selects.every(({name, value}) => value === "" || mark[name] === value));
      shown += !card.hidden;
    }
    count.textContent = `${shown} of ${cards.length}`;
  };
  form.addEventListener("change", filter);
  filter();
  gallery.prepend(form);
}

// On paper nothing can be unfolded; afterwards the page is as it was.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const each of folded) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of folded) each.open = false;
});

// A link into a folded part unfolds it.
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let each = target && target.closest("details"); each; each = each.parentElement.closest("details")) each.open = true;
};
addEventListener("hashchange", unfold);
unfold();
