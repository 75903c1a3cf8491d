// A button that opens the file dialog and takes a dropped file; the kernel gets what it takes.
// In pieces, since a server closes the connection at a message above 10 MB.
const PIECE = 4_000_000;

async function send(model, files) {
  const [file] = files;
  const refuse = (error) => model.send({ error });
  const [size, most] = [file?.size, model.get("largest")].map((n) => `${Math.round(n / 1e6)} MB`);
  if (!file) return refuse("What was dropped is no file; drop a picture file of this computer.");
  if (files.length > 1) return refuse(`These are ${files.length} files; bring one at a time.`);
  if (file.size > model.get("largest"))
    return refuse(`${file.name} has ${size}; allowed are ${most}. Make the picture smaller.`);
  try {
    for (let start = 0; start === 0 || start < file.size; start += PIECE) {
      const piece = await file.slice(start, start + PIECE).arrayBuffer();
      model.send({ name: file.name, size: file.size, start }, undefined, [piece]);
    }
  } catch {
    refuse(`${file.name} could not be read; bring a picture file, not a folder.`);
  }
}

// A file that is dropped beside the button would be opened in place of the page.
for (const kind of ["dragover", "drop"])
  document.addEventListener(kind, (event) => event.preventDefault());

function render({ model, el }) {
  const zone = document.createElement("button");
  const input = document.createElement("input");
  Object.assign(zone, { type: "button", className: "ddlib-drop" });
  Object.assign(input, { type: "file", accept: "image/*,.heic,.heif", hidden: true });
  zone.textContent = model.get("description");
  let sent = Promise.resolve(); // one file after the other, so that their pieces do not mix
  const take = (files) => (sent = sent.then(() => send(model, files)));
  const over = (event, is) => {
    event.preventDefault(); // else the browser opens the file in place of the page
    zone.classList.toggle("ddlib-over", is);
  };
  zone.onclick = () => input.click();
  input.onchange = () => {
    take([...input.files]);
    input.value = ""; // the same file may be chosen again
  };
  zone.ondragenter = zone.ondragover = (event) => over(event, true);
  zone.ondragleave = (event) => over(event, false);
  zone.ondrop = (event) => {
    over(event, false);
    take([...event.dataTransfer.files]);
  };
  el.append(zone, input);
}

export default { render };
