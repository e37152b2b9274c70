// Where the words and numbers of a picture stand: beside what they name, and off what is drawn. All lengths are pixels
// from one corner, a place is [right, down] and a box [left, right, top, bottom].
"use strict";
const labels = (() => {
  const FAR = 20; // from here on a line leads from a mark to the box of its label
  const MARK = 9; // half the size of a mark; marks nearer to each other than this lie on one another
  const CLEAR = 4; // by how much a label without a line is nearer to its own mark than to any other

  const pen = document.createElement("canvas").getContext("2d");
  function half(text, font, size) { // of the box around a text
    pen.font = font;
    return [pen.measureText(text).width / 2 + 3, 0.6 * size + 2];
  }

  const box = ([x, y], [width, height]) => [x - width, x + width, y - height, y + height];
  const overlap = (one, other) =>
    Math.max(0, Math.min(one[1], other[1]) - Math.max(one[0], other[0])) *
    Math.max(0, Math.min(one[3], other[3]) - Math.max(one[2], other[2]));
  const apart = ([x, y], [left, right, top, bottom]) =>
    Math.hypot(Math.max(left - x, 0, x - right), Math.max(top - y, 0, y - bottom));
  const distance = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]);
  const between = (one, other, share) => [0, 1].map(i => one[i] + share * (other[i] - one[i]));
  const least = (options, cost) => {
    const costs = options.map(cost);
    return options[costs.indexOf(Math.min(...costs))];
  };

  // The part of a segment that lies in a frame, as two shares of its length, the first larger where there is none
  function inside(one, other, frame) {
    const shares = [0, 1].map(i => {
      const [low, high] = frame.slice(2 * i, 2 * i + 2), step = other[i] - one[i];
      if (step === 0) return one[i] < low || one[i] > high ? [1, 0] : [0, 1];
      return [(low - one[i]) / step, (high - one[i]) / step].sort((a, b) => a - b);
    });
    return [Math.max(0, shares[0][0], shares[1][0]), Math.min(1, shares[0][1], shares[1][1])];
  }

  // Small boxes along lines, close enough together that no text slips between them, one where many lines meet
  function beads(lines, frame, every = 6) {
    const found = new Map();
    for (const line of lines) {
      line.slice(1).forEach((to, i) => {
        const [first, last] = inside(line[i], to, frame);
        const count = Math.ceil(Math.max(0, last - first) * distance(line[i], to) / every);
        for (let j = 0; j <= count && count > 0; j++) {
          const at = between(line[i], to, first + (last - first) * j / count);
          found.set(at.map(x => Math.round(x / 4)).join(), box(at, [5, 5]));
        }
      });
    }
    return [...found.values()];
  }

  const LEVELS = [-1, -0.5, 0, 0.5, 1];
  const SIDES = LEVELS.flatMap(x => LEVELS.map(y => [x, y])).filter(side => side.some(x => Math.abs(x) === 1));
  const GAPS = [9, 13, 18, 24, 32, 42, 54, 68, 84, 102];

  // Every place at which one label may stand, with the line that leads to it, and what both of them cover
  function places(mark, marks, taken, frame) {
    const others = marks.filter(({ at }) => distance(at, mark.at) > MARK);
    return GAPS.flatMap(gap => SIDES.map(side => {
      const shift = [0, 1].map(i => side[i] * (mark.half[i] + gap));
      const centre = [mark.at[0] + shift[0], mark.at[1] + shift[1]], own = box(centre, mark.half);
      const far = apart(mark.at, own), nearest = Math.min(...others.map(({ at }) => apart(at, own)));
      const lead = far > FAR || nearest < far + CLEAR;
      const line = lead ? beads([[mark.at, centre]], frame).filter(bead => !overlap(bead, own)) : [];
      const crossed = line.filter(([left, right, top, bottom]) =>
        others.some(({ at }) => distance(at, [(left + right) / 2, (top + bottom) / 2]) < MARK)).length;
      const hidden = 4 * mark.half[0] * mark.half[1] - overlap(own, frame);
      const covered = taken.reduce((sum, other) => sum + overlap(own, other), 0);
      const cramped = Math.max(0, MARK + CLEAR - nearest) + (lead ? Math.max(0, FAR - far) : 0); // no room for the line
      const cost = far + far * far / 50 + (lead ? 25 : 0) + 2 * cramped + 3 * covered + 3 * hidden + 200 * crossed;
      return { shift, own, lead, line, cost };
    }));
  }

  // How much two labels with their lines are in each other's way
  function clash(one, other) {
    const hits = (line, own) => line.filter(bead => overlap(bead, own)).length;
    return 3 * overlap(one.own, other.own) + 30 * (hits(one.line, other.own) + hits(other.line, one.own));
  }

  // The best place of each mark that has a label; each is chosen again, given all others, until that changes little
  function beside(marks, lines, frame) {
    const taken = [...marks.map(({ at }) => box(at, [MARK, MARK])), ...beads(lines, frame)];
    const options = marks.filter(({ half }) => half).map(mark => places(mark, marks, taken, frame));
    const chosen = options.map(several => least(several, ({ cost }) => cost));
    for (let sweep = 0; sweep < 4; sweep++) {
      options.forEach((several, i) => {
        const others = chosen.filter((_, j) => j !== i);
        chosen[i] = least(several, one => others.reduce((sum, other) => sum + clash(one, other), one.cost));
      });
    }
    return chosen;
  }

  // Of each ring the lowest point at which its number meets nothing, or null where there is none
  function onRings(rings, halves, taken, frame) {
    const busy = [...taken];
    return rings.map((ring, i) => {
      const free = ring.filter(at => {
        const own = box(at, halves[i]);
        return overlap(own, frame) > 3.99 * halves[i][0] * halves[i][1] && !busy.some(other => overlap(own, other));
      });
      if (free.length === 0) return null;
      const at = least(free, ([, down]) => -down);
      busy.push(box(at, halves[i]));
      return at;
    });
  }

  return { half, box, beads, beside, onRings, MARK };
})();
