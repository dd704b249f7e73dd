// The viewer of each unit. Two canvases, axial and sagittal, of one straightened crop; everything it needs stands in the page.
const INK = { cord: [86, 180, 233], low: [204, 71, 120], middle: [248, 149, 64], high: [240, 249, 33] };
// Millimetres of cord that the sagittal view shows.
const SAGITTAL_MM = 56;
// NiiVue's names of the planes.
const AXIAL = 0, SAGITTAL = 2;

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

let program;
function loadProgram() {
  program ??= (async () => {
    const code = await unpack(document.getElementById("niivue").textContent);
    const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.onload = resolve;
      script.onerror = () => reject(new Error("the viewer's program could not be started"));
      script.src = address;
      document.head.append(script);
    });
    URL.revokeObjectURL(address);
  })();
  return program;
}

class Viewer {
  constructor(box) {
    this.box = box;
    this.facts = JSON.parse(box.querySelector("script.facts").textContent);
    this.find = (name) => box.querySelector(`[data-part="${name}"]`);
    this.sequence = 0;
  }

  async start() {
    await loadProgram();
    const read = async (name) => unpack(this.box.querySelector(`script[data-volume="${name}"]`).textContent);
    this.files = await Promise.all(this.facts.sequences.map((_, row) => read(`image-${row}`)));
    this.head = this.files[0].slice(0, 352);
    const data = (file) => new Uint8Array(file, 352);
    [this.probability, this.lesions, this.cord] = (
      await Promise.all(["probability", "lesions", "cord"].map(read))
    ).map(data);
    this.shape = this.facts.shape.map((n) => Math.ceil(n / this.facts.step));
    this.threshold = this.facts.threshold;
    this.findPieces();
    this.views = [];
    for (const [name, type] of [["sagittal", SAGITTAL], ["axial", AXIAL]]) {
      this.views.push(await this.view(this.find(name), type));
    }
    const first = this.facts.lesions[0];
    this.go(first ? first.voxel : this.facts.start);
    this.listen();
    this.box.classList.add("running");
  }

  async view(canvas, type) {
    const { Niivue, NVImage } = globalThis.niivue;
    const nv = new Niivue({
      isRadiologicalConvention: true, sagittalNoseLeft: true, isResizeCanvas: false, logLevel: "error", loadingText: "",
      crosshairWidth: 0.25, crosshairWidthUnit: "voxels", crosshairColor: [1, 1, 1, 0.6], backColor: [0.294, 0.353, 0.42, 1], dragMode: 3, show3Dcrosshair: false,
      dragAndDropEnabled: false,
    });
    await nv.attachToCanvas(canvas, false);
    nv.addColormap("mscordLesion", ramp([[0, 0, 0], INK.low, INK.middle, INK.high], [0, 1, 178, 255]));
    nv.addColormap("mscordCord", ramp([[0, 0, 0], INK.cord], [0, 255]));
    const add = async (file, name, map, most) => {
      const image = await NVImage.new(file, `${name}.nii`, map, 1, null, 0, most);
      image.colorbarVisible = false;
      nv.addVolume(image);
      return image;
    };
    const image = await add(this.files[0].slice(0), "image", "gray", 255);
    const cord = await add(this.withHead(this.cordOutline(type)), "cord", "mscordCord", 1);
    const lesion = await add(this.withHead(this.lesionOutline(type)), "lesion", "mscordLesion", 255);
    nv.setSliceType(type);
    nv.onLocationChange = (place) => {
      if (!this.moving) this.go(this.voxel(place.mm), nv);
    };
    return { nv, type, canvas, image, cord, lesion };
  }

  withHead(values) {
    const file = new Uint8Array(352 + values.length);
    file.set(new Uint8Array(this.head));
    file.set(values, 352);
    return file.buffer;
  }

  // Outline of the voxels for which a test holds, in the plane of a view: those with a neighbour for which it does not.
  edge(inside, type) {
    const [ni, nj, nk] = this.shape, plane = ni * nj;
    return (n) => {
      const i = n % ni, j = Math.floor(n / ni) % nj, k = Math.floor(n / plane);
      const [across, least, most] = type === AXIAL ? [1, i === 0, i === ni - 1] : [plane, k === 0, k === nk - 1];
      if (j === 0 || j === nj - 1) return true;
      // The cord goes on where the crop ends.
      if (type === AXIAL && (least || most)) return true;
      for (const side of [-1, 0, 1]) {
        if ((side < 0 && least) || (side > 0 && most)) continue;
        for (const ahead of [-1, 0, 1]) if (!inside(n + side * across + ahead * ni)) return true;
      }
      return false;
    };
  }

  cordOutline(type) {
    const result = new Uint8Array(this.cord.length), edge = this.edge((n) => this.cord[n] > 0, type);
    this.cord.forEach((value, n) => { if (value && edge(n)) result[n] = 1; });
    return result;
  }

  // What reaches the chosen probability, in connected pieces, each with its mean probability as 1 to 255.
  findPieces() {
    const [ni, nj, nk] = this.shape, plane = ni * nj, p = this.probability;
    const least = Math.max(1, Math.round(this.threshold * this.facts.full)), weak = this.find("weak").checked;
    const seen = new Uint8Array(p.length);
    this.pieces = [];
    let count = 0, reported = 0;
    for (let seed = 0; seed < p.length; seed++) {
      if (p[seed] < least || seen[seed]) continue;
      const piece = [seed];
      seen[seed] = 1;
      let sum = 0, known = false;
      for (let at = 0; at < piece.length; at++) {
        const n = piece[at], i = n % ni, j = Math.floor(n / ni) % nj, k = Math.floor(n / plane);
        sum += p[n];
        known ||= this.lesions[n] > 0;
        for (let c = -1; c <= 1; c++) for (let b = -1; b <= 1; b++) for (let a = -1; a <= 1; a++) {
          if (i + a < 0 || j + b < 0 || k + c < 0 || i + a >= ni || j + b >= nj || k + c >= nk) continue;
          const other = n + a + b * ni + c * plane;
          if (p[other] >= least && !seen[other]) { seen[other] = 1; piece.push(other); }
        }
      }
      count += 1;
      if (known) reported += 1;
      if (known || weak) this.pieces.push([piece, Math.max(1, Math.round((255 * sum) / piece.length / this.facts.full))]);
    }
    this.say("pieces", `${count} at this probability: ${reported} of the result` +
      (count > reported ? `, ${count - reported} too weak to be a lesion${weak ? "" : " (not outlined)"}` : "") + ".");
  }

  lesionOutline(type) {
    const p = this.probability, result = new Uint8Array(p.length);
    const least = Math.max(1, Math.round(this.threshold * this.facts.full)), edge = this.edge((n) => p[n] >= least, type);
    for (const [piece, value] of this.pieces) for (const n of piece) if (edge(n)) result[n] = value;
    return result;
  }

  say(part, words) { this.find(part).textContent = words; }

  redraw() {
    this.findPieces();
    for (const { nv, type, lesion } of this.views) { lesion.img = this.lesionOutline(type); nv.updateGLVolume(); }
  }

  show(row) {
    this.sequence = row;
    for (const { nv, image } of this.views) {
      image.img = new Uint8Array(this.files[row].slice(352));
      nv.updateGLVolume();
    }
    this.find("sequence").value = String(row);
  }

  // From millimetres of the straightened crop (LAS) to its voxels of the common space, and back.
  voxel(mm) {
    const size = this.facts.spacing * this.facts.step;
    return [-mm[0], mm[1], mm[2]].map((x, axis) => {
      const n = Math.floor((x / size + 0.5)) * this.facts.step + (this.facts.step >> 1);
      return Math.min(Math.max(n, 0), this.facts.shape[axis] - 1);
    });
  }

  mm(voxel) {
    const size = this.facts.spacing * this.facts.step;
    const [x, y, z] = voxel.map((n) => Math.floor(n / this.facts.step) * size);
    return [-x, y, z];
  }

  go(voxel, from = null) {
    this.moving = true;
    this.place = voxel;
    const mm = this.mm(voxel);
    for (const { nv, type } of this.views) {
      if (nv !== from) nv.scene.crosshairPos = nv.mm2frac(mm);
      this.frame(nv, type, mm);
      nv.drawScene();
    }
    this.moving = false;
    const { affine, starts } = this.facts;
    const [i, j, k] = [voxel[0] + starts[voxel[2]][0], voxel[1] + starts[voxel[2]][1], voxel[2]];
    const [x, y, z] = affine.slice(0, 3).map((row) => row[0] * i + row[1] * j + row[2] * k + row[3]);
    const words = (value, more, less) => `${value >= 0 ? more : less} ${Math.abs(value).toFixed(1)}`;
    const n = this.offset(voxel);
    const here = this.lesions[n] ? `lesion ${this.lesions[n]}` : "no lesion";
    this.say("place", `${words(x, "R", "L")}, ${words(y, "A", "P")}, ${words(z, "S", "I")} mm: ${here}, ` +
      `probability ${(this.probability[n] / this.facts.full).toFixed(2)}`);
    this.find("level").value = String(voxel[2]);
  }

  offset(voxel) {
    const [i, j, k] = voxel.map((n) => Math.floor(n / this.facts.step));
    return i + this.shape[0] * (j + this.shape[1] * k);
  }

  // Axial: the whole crop. Sagittal: a stretch of the cord, which moves only when the crosshair comes near its ends.
  frame(nv, type, mm) {
    const least = nv.volumes[0].extentsMinOrtho, most = nv.volumes[0].extentsMaxOrtho;
    const centre = [0, 1, 2].map((axis) => (least[axis] + most[axis]) / 2);
    const tall = most[2] - least[2], wide = most[1] - least[1];
    if (type === AXIAL) return;
    const zoom = Math.max(1, Math.max(tall, wide * 2) / SAGITTAL_MM);
    const half = SAGITTAL_MM / 2;
    if (this.middle === undefined || Math.abs(mm[2] - this.middle) > half - 6)
      this.middle = tall <= SAGITTAL_MM ? centre[2] : Math.min(Math.max(mm[2], least[2] + half), most[2] - half);
    nv.scene.pan2Dxyzmm = [0, centre[1] * (1 - zoom), centre[2] - zoom * this.middle, zoom];
  }

  jump(number) {
    const lesion = this.facts.lesions.find((one) => one.number === number);
    if (!lesion) return;
    this.middle = undefined;
    this.go(lesion.voxel);
  }

  listen() {
    this.find("threshold").addEventListener("input", (event) => {
      this.threshold = Number(event.target.value);
      this.say("threshold-value", this.threshold.toFixed(2));
      this.redraw();
    });
    this.find("weak").addEventListener("change", () => this.redraw());
    this.find("sequence").addEventListener("change", (event) => this.show(Number(event.target.value)));
    this.find("level").addEventListener("input", (event) => {
      this.go([this.place[0], this.place[1], Number(event.target.value)]);
    });
    const flicker = this.find("flicker");
    flicker?.addEventListener("click", () => {
      const on = flicker.getAttribute("aria-pressed") !== "true";
      flicker.setAttribute("aria-pressed", String(on));
      clearInterval(this.timer);
      if (!on) return;
      // Between the reference and the sequence that was chosen, or the next one.
      const other = this.sequence || 1;
      this.timer = setInterval(() => this.show(this.sequence === 0 ? other : 0), 600);
    });
  }
}

function ramp(colours, levels) {
  const part = (n) => colours.map((colour) => colour[n]);
  return { R: part(0), G: part(1), B: part(2), A: levels.map((level) => (level ? 255 : 0)), I: levels };
}

function able() {
  return typeof DecompressionStream === "function" && document.createElement("canvas").getContext("webgl2") !== null;
}

const viewers = new Map();
async function viewerOf(box) {
  if (!viewers.has(box)) {
    const viewer = new Viewer(box);
    viewers.set(box, viewer.start().then(() => viewer));
  }
  const state = box.querySelector('[data-part="state"]');
  try {
    const viewer = await viewers.get(box);
    state.hidden = true;
    return viewer;
  } catch (error) {
    state.textContent = `The viewer could not be started (${error.message}). The pictures below show every lesion.`;
    return null;
  }
}

{
  const boxes = [...document.querySelectorAll(".viewer")];
  const usable = boxes.length > 0 && able();
  const watcher = usable && new IntersectionObserver((seen) => {
    for (const one of seen) if (one.isIntersecting) { watcher.unobserve(one.target); viewerOf(one.target); }
  }, { rootMargin: "200px" });
  for (const box of boxes) {
    box.hidden = false;
    if (usable) watcher.observe(box);
    else box.querySelector('[data-part="state"]').textContent =
      "This browser cannot show the viewer (it needs WebGL 2). The pictures below show every lesion.";
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-lesion]");
    if (!button) return;
    const box = button.closest("section.unit").querySelector(".viewer");
    if (!box || !usable) return;
    const viewer = await viewerOf(box);
    viewer?.jump(Number(button.dataset.lesion));
    if (!box.contains(button)) box.scrollIntoView({ block: "nearest" });
  });
}
