// Text as bytes, and back: QuickJS has no TextEncoder.

/** The UTF-8 of a text. A surrogate that stands alone becomes U+FFFD. */
export function encode(text) {
  const bytes = [];
  for (const character of text) {
    let point = character.codePointAt(0);
    if (point >= 0xd800 && point <= 0xdfff) point = 0xfffd;
    if (point < 0x80) {
      bytes.push(point);
      continue;
    }
    const more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    bytes.push(((0xff00 >> (more + 1)) & 0xff) | (point >> (6 * more)));
    for (let left = more - 1; left >= 0; left--) {
      bytes.push(0x80 | ((point >> (6 * left)) & 0x3f));
    }
  }
  return Uint8Array.from(bytes);
}

/** The text of bytes. What is no UTF-8 becomes U+FFFD. */
export function decode(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at++];
    const more = first < 0x80 ? 0 : first < 0xc2 ? -1 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : -1;
    if (more <= 0) {
      text += more === 0 ? String.fromCharCode(first) : "\ufffd";
      continue;
    }
    let point = first & (0x3f >> more);
    let taken = 0;
    while (taken < more && (bytes[at + taken] & 0xc0) === 0x80) point = (point << 6) | (bytes[at + taken++] & 0x3f);
    at += taken;
    const least = more === 1 ? 0x80 : more === 2 ? 0x800 : 0x10000;
    const good = taken === more && point >= least && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
    text += good ? String.fromCodePoint(point) : "\ufffd";
  }
  return text;
}
