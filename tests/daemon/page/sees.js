// What somebody sees on the page, as far as /status has it: texts as they are rendered, times in milliseconds.
const seen = (root, key) => {
  const of = root.querySelector(`[data-key="${key}"]`);
  return of ? of.innerText.trim() : null;
};
const all = (root, key) => [...root.querySelectorAll(`[data-key="${key}"]`)];
const ms = (root, key) => {
  const of = root.querySelector(`[data-key="${key}"]`);
  const time = of && of.querySelector('time[datetime^="PT"]');
  return time ? Math.round(parseFloat(time.dateTime.slice(2)) * 1000) : null;
};
const order = (root) => root && { order: seen(root, "order"), by: seen(root, "by"), why: seen(root, "why") };
return {
  title: document.title,
  level: seen(document, "level"),
  answers: [...document.querySelectorAll(".answers li")].map((li) => li.innerText.split(/\s+/).join(" ").trim()),
  items: all(document, "item").map((item) => item.innerText),
  orders: all(document, "order").filter((of) => of.classList.contains("order")).map((of) => of.innerText),
  damaged: seen(document, "orders_damaged"),
  refused: seen(document, "refused"),
  questions: all(document, "question").map((of) => of.innerText),
  downtimes: all(document, "downtime").map((of) => of.innerText),
  nodes: [...document.querySelectorAll("section.node")].map((node) => ({
    node: seen(node, "node"),
    role: seen(node, "role"),
    timeline: seen(node, "timeline"),
    cluster: seen(node, "cluster"),
    services: [...node.querySelectorAll("article")].map((of) => ({
      service: seen(of, "service"),
      badge: seen(of, "badge"),
      state: seen(of, "state"),
      answer: seen(of, "answer"),
      detail: seen(of, "detail"),
      reason: seen(of, "reason"),
      hint: seen(of, "hint"),
      since_ms: ms(of, "since"),
      stands_ms: ms(of, "stands"),
      seen_ms: ms(of, "seen"),
      asked_ms: ms(of, "asked"),
      asked: seen(of, "asked"),
      order: seen(of, "order"),
      findings: all(of, "finding").map((found) => found.innerText),
      strip: of.querySelector("svg").getAttribute("aria-label"),
      parts: [...of.querySelectorAll("rect")].map((rect) => rect.className.baseVal),
      changes: all(of, "change").map((change) => change.innerText),
    })),
    sources: all(node, "source").map((of) => ({
      kind: seen(of, "kind"),
      role: seen(of, "role"),
      good_ms: ms(of, "good"),
      looked_ms: ms(of, "looked"),
      error: seen(of, "error"),
      votes: seen(of, "votes"),
      electors: seen(of, "electors"),
      ballots: all(of, "ballot").map((ballot) => ballot.innerText.split(/\s+/).join(" ").trim()),
    })),
  })),
};
