// Two views of one page, each a client of its own: `#guest` and `#desk`.

const views = { guest: new Guest(), desk: new Desk() };

function route() {
  const name = location.hash === "#desk" ? "desk" : "guest";
  for (const other of Object.keys(views)) {
    show(byId(other), other === name);
    byId(`to-${other}`).ariaCurrent = other === name ? "page" : null;
  }
  // The browser scrolls to what the hash names; the views scroll inside.
  scrollTo(0, 0);
  views[name].shown();
}

addEventListener("hashchange", route);
route();
