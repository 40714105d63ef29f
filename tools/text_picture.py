#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""text_picture.py TITLE < TEXT > PICTURE.svg - a text as a picture: each line as it is, in a fixed width."""
import html
import sys

SIZE, LINE, MARGIN = 13, 17, 16


def main():
    lines = sys.stdin.read().rstrip("\n").split("\n")
    width = MARGIN * 2 + max(len(line) for line in lines) * SIZE * 0.61
    height = MARGIN * 2 + LINE * (len(lines) + 2)
    print('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">' % ((width, height) * 2))
    print('<rect width="100%" height="100%" fill="#fdfdfb"/>')
    print('<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="%d" xml:space="preserve">' % SIZE)
    print('<text x="%d" y="%d" font-weight="bold">%s</text>' % (MARGIN, MARGIN + SIZE, html.escape(sys.argv[1])))
    for number, line in enumerate(lines, 2):
        print('<text x="%d" y="%d">%s</text>' % (MARGIN, MARGIN + SIZE + LINE * number, html.escape(line)))
    print("</g>\n</svg>")


if __name__ == "__main__":
    main()
