// A picture (base64) again as PNG with a palette of 256 colours at most: those that are there most and those
// that are unlike them, and for each other one the nearest. Pages have few colours, so that it is a third as large and looks the same.
const [given, done] = arguments;
const bytes = Uint8Array.from(atob(given), (c) => c.charCodeAt(0));
const crcs = Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});
const crc = (data) => (data.reduce((c, b) => crcs[(c ^ b) & 255] ^ (c >>> 8), 0xffffffff) ^ 0xffffffff) >>> 0;
const number = (n) => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
const chunk = (name, data) => {
  const body = [...[...name].map((c) => c.charCodeAt(0)), ...data];
  return [...number(data.length), ...body, ...number(crc(body))];
};
const deflate = async (data) =>
  new Uint8Array(await new Response(new Blob([data]).stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer());
(async () => {
  const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const { width, height } = picture;
  const canvas = new OffscreenCanvas(width, height);
  const on = canvas.getContext("2d");
  on.drawImage(picture, 0, 0);
  const pixels = new Uint32Array(on.getImageData(0, 0, width, height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
  const colours = [...counts].sort((a, b) => b[1] - a[1]).map(([colour]) => colour);
  const palette = colours.slice(0, 160);
  const parts = (c) => [c & 255, (c >>> 8) & 255, (c >>> 16) & 255];
  const far = (a, b) => {
    const [of, other] = [parts(a), parts(b)];
    return of.reduce((sum, c, at) => sum + (c - other[at]) ** 2, 0);
  };
  const nearest = (colour) =>
    palette.reduce((best, other, at) => (far(colour, other) < far(colour, palette[best]) ? at : best), 0);
  // The rest of the palette are those that are unlike all others, however rare.
  const unlike = new Map(colours.map((colour) => [colour, far(colour, palette[nearest(colour)])]));
  while (palette.length < 256) {
    const [next] = [...unlike].reduce((most, of) => (of[1] > most[1] ? of : most));
    palette.push(next);
    for (const [colour, distance] of unlike) unlike.set(colour, Math.min(distance, far(colour, next)));
  }
  const index = new Map([...counts.keys()].map((colour) => [colour, 0]));
  for (const colour of index.keys()) index.set(colour, nearest(colour));
  const rows = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) rows[y * (width + 1) + 1 + x] = index.get(pixels[y * width + x]);
  const png = Uint8Array.from([
    137, 80, 78, 71, 13, 10, 26, 10,
    ...chunk("IHDR", [...number(width), ...number(height), 8, 3, 0, 0, 0]),
    ...chunk("PLTE", palette.flatMap(parts)),
    ...chunk("IDAT", [...(await deflate(rows))]),
    ...chunk("IEND", []),
  ]);
  done(btoa(png.reduce((text, b) => text + String.fromCharCode(b), "")));
})().catch((error) => done(String(error)));
