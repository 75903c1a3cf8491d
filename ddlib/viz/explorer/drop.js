// A button that opens the file dialog and takes a dropped file; the kernel gets what it takes.
// In pieces, since a server closes the connection at a message above 10 MB.
const PIECE = 4_000_000;

async function send(model, files) {
  const [file] = files;
  const told = { names: files.map((each) => each.name), size: file?.size ?? 0 };
  if (files.length !== 1 || told.size > model.get("largest")) {
    model.send(told); // without content: the kernel says what is wrong
    return;
  }
  try {
    for (let start = 0; start === 0 || start < told.size; start += PIECE) {
      const piece = await file.slice(start, start + PIECE).arrayBuffer();
      model.send({ ...told, start }, undefined, [piece]);
    }
  } catch {
    model.send(told); // a folder, or a file that is gone
  }
}

function render({ model, el }) {
  const zone = document.createElement("button");
  const input = document.createElement("input");
  zone.type = "button";
  zone.className = "ddlib-drop";
  zone.textContent = model.get("description");
  Object.assign(input, { type: "file", accept: model.get("accept"), hidden: true });
  let sent = Promise.resolve(); // one file after the other, so that their pieces do not mix
  const take = (list) => {
    const files = [...list];
    sent = sent.then(() => send(model, files));
  };
  const over = (event, is) => {
    event.preventDefault(); // else the browser opens the file in place of the page
    zone.classList.toggle("ddlib-over", is);
  };
  zone.onclick = () => input.click();
  input.onchange = () => {
    take(input.files);
    input.value = ""; // the same file may be chosen again
  };
  zone.ondragenter = zone.ondragover = (event) => over(event, true);
  zone.ondragleave = (event) => over(event, false);
  zone.ondrop = (event) => {
    over(event, false);
    take(event.dataTransfer.files);
  };
  el.append(zone, input);
}

export default { render };
