"use strict";
// A packed network in this page: the engine in WebAssembly, pixels as validation makes them, and what comes of them.
(function () {
  const byId = (id) => document.getElementById(id);
  const bytesOf = (id) => Uint8Array.from(atob(byId(id).textContent.trim()), (char) => char.charCodeAt(0));

  // --- the engine: xnorlit.h, with pointers as numbers
  let engine = null;
  let network = null;
  const memory = () => new DataView(engine.memory.buffer); // made anew, because memory that grows gets a new buffer
  const bytesAt = (at, count) => new Uint8Array(engine.memory.buffer, at, count);

  function textAt(at) {
    const all = bytesAt(at, engine.memory.buffer.byteLength - at);
    return new TextDecoder().decode(all.subarray(0, all.indexOf(0)));
  }

  function taken(count) {
    const at = engine.malloc(count);
    if (!at) throw new Error("the browser gives no more memory");
    return at;
  }

  async function start(wasm) {
    const module = await WebAssembly.compile(wasm);
    // Of a system the engine wants only these: no variable is set, and memory may grow. The rest ends it.
    const system = {
      environ_sizes_get(count, size) {
        memory().setUint32(count, 0, true);
        memory().setUint32(size, 0, true);
        return 0;
      },
      environ_get: () => 0,
      emscripten_notify_memory_growth: () => {},
    };
    const imports = {};
    for (const { module: room, name } of WebAssembly.Module.imports(module))
      (imports[room] ??= {})[name] = system[name] ?? (() => {
        throw new Error(`the engine stopped (${name})`);
      });
    engine = (await WebAssembly.instantiate(module, imports)).exports;
    engine._initialize();
  }

  const kError = 4 + 256; // xnorlit_error: its code, its message

  // A network from the bytes of a packed file. Throws an Error that says what is wrong with it.
  function loaded(file) {
    const content = taken(file.length);
    bytesAt(content, file.length).set(file);
    const error = taken(kError), out = taken(4);
    try {
      if (engine.xnorlit_load(content, file.length, 0, out, error)) throw new Error(textAt(error + 4));
      const handle = memory().getUint32(out, true);
      const side = engine.xnorlit_image_size(handle), count = engine.xnorlit_class_count(handle);
      return {
        handle, side, count,
        name: textAt(engine.xnorlit_network_name(handle)),
        isa: textAt(engine.xnorlit_isa(handle)),
        crop: engine.xnorlit_crop(handle),
        squash: engine.xnorlit_squash(handle) !== 0,
        classes: Array.from({ length: count }, (_, i) => textAt(engine.xnorlit_class_name(handle, i))),
        pixels: taken(side * side * 3), logits: taken(4 * count),
      };
    } finally {
      for (const at of [content, error, out]) engine.free(at);
    }
  }

  function use(file) {
    const found = loaded(file);
    if (network) {
      engine.xnorlit_free(network.handle);
      for (const at of [network.pixels, network.logits]) engine.free(at);
    }
    network = found;
    const blank = new Uint8Array(network.side ** 2 * 3);
    // The browser translates the engine again, faster code, while it runs.
    for (const end = performance.now() + 100; performance.now() < end; ) run(blank);
    return network;
  }

  // Logits of uint8 [side][side][3], and the milliseconds that they took.
  function run(pixels) {
    const { handle, count } = network;
    bytesAt(network.pixels, pixels.length).set(pixels);
    const error = taken(kError);
    try {
      const began = performance.now();
      const code = engine.xnorlit_run(handle, network.pixels, pixels.length, network.logits, count, error);
      const milliseconds = performance.now() - began;
      if (code) throw new Error(textAt(error + 4));
      return { logits: new Float32Array(engine.memory.buffer, network.logits, count).slice(), milliseconds };
    } finally {
      engine.free(error);
    }
  }

  // --- the pixels of xnorlit/data/pictures.py

  // Half to even, as numpy rounds.
  const rounded = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

  // The middle of an image: left, top, width, height.
  function central(width, height, ratio, squash) {
    const shorter = Math.min(width, height);
    const of = (side) => Math.max(1, rounded(ratio * (squash ? side : shorter)));
    const [w, h] = [of(width), of(height)];
    return [Math.floor((width - w) / 2), Math.floor((height - h) / 2), w, h];
  }

  // Pillow's BILINEAR (Resample.c): for each result the first source and its weights, with 22 bits behind the point.
  function weights(from, to) {
    const scale = from / to, support = Math.max(scale, 1);
    return Array.from({ length: to }, (_, i) => {
      const centre = (i + 0.5) * scale;
      const first = Math.max(0, Math.trunc(centre - support + 0.5));
      const end = Math.min(from, Math.trunc(centre + support + 0.5));
      const all = [];
      for (let x = first; x < end; ++x) all.push(Math.max(0, 1 - Math.abs((x - centre + 0.5) * (1 / support))));
      const sum = all.reduce((a, b) => a + b, 0);
      return { first, each: all.map((w) => Math.trunc(0.5 + (w / sum) * 2 ** 22)) };
    });
  }

  // One direction: `lines` of `from` pixels to `lines` of `to`, `step` bytes from pixel to pixel and `jump` from line
  // to line, in the source and in the result.
  function resized(source, lines, from, to, [step, jump], [outStep, outJump]) {
    const out = new Uint8ClampedArray(lines * to * 3);
    weights(from, to).forEach(({ first, each }, i) => {
      for (let line = 0; line < lines; ++line)
        for (let c = 0; c < 3; ++c) {
          let sum = 2 ** 21;
          for (let k = 0; k < each.length; ++k) sum += each[k] * source[line * jump + (first + k) * step + c];
          out[line * outJump + i * outStep + c] = sum >> 22;
        }
    });
    return out;
  }

  // RGBA rows of a picture to uint8 [side][side][3].
  function pixelsOf({ data, width, height }, { side, crop, squash }) {
    const [left, top, w, h] = central(width, height, crop, squash);
    let box = new Uint8ClampedArray(w * h * 3);
    for (let y = 0; y < h; ++y)
      for (let x = 0; x < w; ++x)
        for (let c = 0; c < 3; ++c) box[3 * (y * w + x) + c] = data[4 * ((top + y) * width + left + x) + c];
    if (w !== side) box = resized(box, h, w, side, [3, 3 * w], [3, 3 * side]);
    if (h !== side) box = resized(box, side, h, side, [3 * side, 3], [3 * side, 3]);
    return new Uint8Array(box.buffer);
  }

  // --- the page

  const canvas = byId("live-photo"), view = byId("live-pixels");
  const context = canvas.getContext("2d", { willReadFrequently: true });

  // Classifies what a source shows: the five likeliest classes and the milliseconds of the network alone.
  function classify(source, width, height) {
    if (!width || !height) throw new Error("the picture has no pixels");
    canvas.width = width;
    canvas.height = height;
    context.fillStyle = "#fff"; // what is transparent becomes white
    context.fillRect(0, 0, width, height);
    context.drawImage(source, 0, 0, width, height);
    const pixels = pixelsOf(context.getImageData(0, 0, width, height), network);
    const { logits, milliseconds } = run(pixels);
    const largest = Math.max(...logits);
    const odds = Array.from(logits, (logit) => Math.exp(logit - largest));
    const sum = odds.reduce((a, b) => a + b, 0);
    const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
    const top = order.slice(0, 5).map((i) => ({ index: i, name: network.classes[i], share: odds[i] / sum }));
    show(top, milliseconds, pixels);
    return { top, milliseconds, pixels, logits };
  }

  function show(top, milliseconds, pixels) {
    const { side } = network;
    view.width = view.height = side;
    const image = new ImageData(side, side);
    image.data.fill(255);
    for (let i = 0; i < pixels.length; ++i) image.data[4 * Math.trunc(i / 3) + (i % 3)] = pixels[i];
    view.getContext("2d").putImageData(image, 0, 0);
    byId("live-views").hidden = false;
    byId("live-top").replaceChildren(
      ...top.map(({ name, share }) => {
        const row = document.createElement("li");
        row.style.setProperty("--share", share);
        for (const text of [name, `${(100 * share).toFixed(1)} %`]) row.appendChild(document.createElement("span")).textContent = text;
        return row;
      }),
    );
    byId("live-time").textContent = `${milliseconds.toPrecision(2)} ms in the network, on one thread of this browser`;
    complain("");
  }

  function complain(message) {
    byId("live-problem").textContent = message;
  }

  function describe() {
    const { name, side, count } = network;
    byId("live-about").textContent = `${name}: ${side} × ${side} pixels, ${count} classes.`;
  }

  // A photo is classified; a packed file replaces the network. Null where either is refused, and the page says why.
  async function take(file) {
    stopCamera();
    try {
      await ready;
      if (/\.safetensors$/i.test(file.name ?? "")) {
        use(new Uint8Array(await file.arrayBuffer()));
        describe();
        complain("");
        return null;
      }
      // Upright as EXIF says; the file's own numbers, as Pillow reads them.
      const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
      const picture = await createImageBitmap(file, options).catch(() => {
        throw new Error(`${file.name ?? "this"} is no picture that this browser reads`);
      });
      try {
        return classify(picture, picture.width, picture.height);
      } finally {
        picture.close();
      }
    } catch (error) {
      complain(error.message);
      return null;
    }
  }

  // --- the camera
  const video = document.createElement("video");
  const button = byId("live-camera");
  video.muted = video.playsInline = true;
  let stream = null;

  function stopCamera() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    button.textContent = "Camera";
  }

  function look() {
    if (!stream) return;
    if (video.videoWidth) classify(video, video.videoWidth, video.videoHeight);
    setTimeout(look, 100);
  }

  button.addEventListener("click", async () => {
    if (stream) return stopCamera();
    try {
      await ready;
      if (!navigator.mediaDevices) throw new Error("this browser gives pages of files no camera");
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      button.textContent = "Stop";
      video.srcObject = stream;
      await video.play();
      look();
    } catch (error) {
      stopCamera();
      complain(`no camera: ${error.message}`);
    }
  });

  const zone = byId("live-zone"), input = byId("live-file");
  input.addEventListener("change", () => input.files.length && take(input.files[0]));
  for (const kind of ["dragover", "dragleave", "drop"])
    zone.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
    });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files[0]);
  });

  const ready = start(bytesOf("live-engine")).then(() => {
    use(bytesOf("live-network"));
    describe();
  });
  ready.catch((error) => complain(`The network does not run in this browser: ${error.message}`));

  // For tests: what the page itself calls.
  window.xnorlitLive = { ready, take, run, use, network: () => network };
})();
