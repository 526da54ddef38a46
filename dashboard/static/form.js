// The form of a webhook: one step at a time, and a preview as one types. Without this script, all steps are shown.
const PREVIEW_DELAY = 500; // milliseconds without a key
const ANSWER_TIMEOUT = 30000; // milliseconds for an answer
const form = document.querySelector("[data-preview]");
const steps = [...form.querySelectorAll("[id^=step-]")];
const links = document.querySelector("[data-steps]");
const moves = [...form.querySelectorAll("[data-step]")];
let current = 0;

function showStep(number, focus) {
  current = number;
  for (const [n, step] of steps.entries()) step.hidden = n !== number;
  for (const [n, link] of [...links.querySelectorAll("a")].entries()) {
    if (n === number) link.setAttribute("aria-current", "step");
    else link.removeAttribute("aria-current");
  }
  for (const move of moves) move.hidden = !(number + Number(move.dataset.step) in steps);
  if (focus) steps[number].focus();
}

function showWrongSteps() {
  for (const [n, link] of [...links.querySelectorAll("a")].entries()) {
    link.classList.toggle("wrong", Boolean(steps[n].querySelector(".error:not([hidden])")));
  }
}

function goTo(id) {
  const target = document.getElementById(id);
  const number = steps.findIndex((step) => step.contains(target));
  if (number < 0) return;
  showStep(number, steps[number] === target);
  if (steps[number] === target) return;
  for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  const field = document.getElementById(id.replace(/-error$/, ""));
  (field || target).scrollIntoView({ block: "center" });
  if (field) field.focus({ preventScroll: true });
}

class Preview {
  constructor() {
    form.addEventListener("input", () => this.schedule());
    form.querySelector("[data-preview-button]").addEventListener("click", (click) => {
      click.preventDefault();
      this.refresh();
    });
    this.schedule();
  }

  schedule() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), PREVIEW_DELAY);
  }

  say(text) {
    document.querySelector("[data-preview-state]").textContent = text;
  }

  async refresh() {
    clearTimeout(this.timer);
    this.isLate = this.isAsking; // one request at a time: its answer comes first
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      const answer = await fetch(form.dataset.preview, {
        method: "POST", body: new URLSearchParams(new FormData(form)), headers: { accept: "text/html" }, signal: AbortSignal.timeout(ANSWER_TIMEOUT),
      });
      if (answer.status === 401 || answer.redirected) return this.say(_("Your session has ended: log in in another tab."));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const again = page.querySelector("#again [name=proof]"); // there is a new session
      if (again && again.value !== form.elements.proof.value) {
        form.elements.proof.value = again.value;
        return this.schedule();
      }
      const fresh = page.getElementById("preview");
      if (!answer.ok || !fresh) throw new Error(String(answer.status));
      this.show(page, fresh);
    } catch {
      this.say(_("There is no preview now. Type on to try again."));
    } finally {
      this.isAsking = false;
      if (this.isLate) this.schedule();
    }
  }

  show(page, fresh) {
    document.getElementById("preview").replaceWith(document.importNode(fresh, true));
    for (const shown of form.querySelectorAll(".error")) {
      const now = page.getElementById(shown.id);
      shown.hidden = !now || now.hidden;
      shown.textContent = now ? now.textContent : "";
      const field = document.getElementById(shown.id.replace(/-error$/, ""));
      if (!field) continue;
      if (shown.hidden) field.removeAttribute("aria-invalid");
      else field.setAttribute("aria-invalid", "true");
    }
    const type = page.getElementById("sample.type");
    if (type) document.getElementById("sample.type").placeholder = type.placeholder;
    showWrongSteps();
  }
}

links.hidden = false;
document.addEventListener("click", (click) => {
  const link = click.target.closest("a[href^='#']");
  if (!link || !document.getElementById(link.hash.slice(1))) return;
  click.preventDefault();
  goTo(link.hash.slice(1));
});
for (const move of moves) move.addEventListener("click", () => showStep(current + Number(move.dataset.step), true));
showStep(Math.max(0, steps.findIndex((step) => step.querySelector(".error:not([hidden])"))), false);
showWrongSteps();
new Preview();
