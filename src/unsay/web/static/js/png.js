/** PNG files of one grey (or palette) channel, written and read by hand: exact, and without a canvas' limits of size. */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32(bytes) {
  let c = 0xffffffff;
  for (let i = 0; i < bytes.length; i += 1) c = CRC_TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

function chunk(name, data) {
  const out = new Uint8Array(data.length + 12);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i += 1) out[4 + i] = name.charCodeAt(i);
  out.set(data, 8);
  view.setUint32(data.length + 8, crc32(out.subarray(4, data.length + 8)));
  return out;
}

async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

/**
 * An 8-bit grey PNG. The pixels are copied before this returns: they may change while it is compressed.
 * @param {Uint8Array} pixels @param {number} width @param {number} height
 * @returns {Promise<Uint8Array>}
 */
export async function encodeGrey(pixels, width, height) {
  const raw = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y += 1) raw.set(pixels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8;
  const data = await through(new CompressionStream('deflate'), raw);
  const parts = [Uint8Array.from(SIGNATURE), chunk('IHDR', header), chunk('IDAT', data), chunk('IEND', new Uint8Array(0))];
  return joined(parts);
}

function joined(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function readChunks(bytes) {
  if (SIGNATURE.some((value, i) => bytes[i] !== value)) throw new Error('not a PNG file');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = [];
  let header = null;
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (name === 'IHDR') header = body;
    if (name === 'IDAT') data.push(body);
    at += length + 12;
  }
  return { header, data: joined(data) };
}

/**
 * The samples of a PNG of one channel: grey values as they are stored, or palette indices.
 * @param {Uint8Array} bytes
 * @returns {Promise<{width: number, height: number, pixels: Uint8Array}>}
 */
export async function decodeGrey(bytes) {
  const { header, data } = readChunks(bytes);
  const view = new DataView(header.buffer, header.byteOffset, 13);
  const [width, height, depth, colour] = [view.getUint32(0), view.getUint32(4), header[8], header[9]];
  if (depth > 8 || (colour !== 0 && colour !== 3) || header[12]) throw new Error('not a plain PNG of one channel');
  const raw = await through(new DecompressionStream('deflate'), data);
  const stride = Math.ceil((width * depth) / 8);
  const rows = unfiltered(raw, stride, height);
  return { width, height, pixels: depth === 8 ? rows : unpacked(rows, stride, width, height, depth) };
}

/** Undo PNG's filters 0 to 4; a pixel is at most a byte, so the byte to the left is the one before. */
function unfiltered(raw, stride, height) {
  const out = new Uint8Array(stride * height);
  const none = new Uint8Array(stride);
  for (let y = 0; y < height; y += 1) {
    const filter = raw[y * (stride + 1)];
    const source = raw.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1));
    const row = out.subarray(y * stride, (y + 1) * stride);
    const above = y ? out.subarray((y - 1) * stride, y * stride) : none;
    unfilterRow(filter, source, row, above);
  }
  return out;
}

function unfilterRow(filter, source, row, above) {
  if (filter === 0) return row.set(source);
  for (let x = 0; x < row.length; x += 1) {
    const left = x ? row[x - 1] : 0;
    row[x] = source[x] + guess(filter, left, above[x], x ? above[x - 1] : 0);
  }
}

function guess(filter, left, up, corner) {
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  const p = left + up - corner;
  const [a, b, c] = [Math.abs(p - left), Math.abs(p - up), Math.abs(p - corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

function unpacked(rows, stride, width, height, depth) {
  const out = new Uint8Array(width * height);
  const ones = (1 << depth) - 1;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const bit = x * depth;
      out[y * width + x] = (rows[y * stride + (bit >> 3)] >> (8 - depth - (bit & 7))) & ones;
    }
  }
  return out;
}

/** @param {string} text base64 @returns {Uint8Array} */
export const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** @param {Uint8Array} bytes @returns {string} base64 */
export function toBase64(bytes) {
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}
