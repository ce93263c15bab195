# SPDX-License-Identifier: MIT
"""Ghostscript: pages of PostScript to pixels, on several rendering threads, and through PDF."""

from pathlib import Path

import lib

PAGES = Path(__file__).parent / "jobs" / "pages.ps"
# A small band buffer makes gs record the page and render its bands on threads.
BANDED = ["-dMaxBitmap=0", "-dBufferSpace=400000", "-dNumRenderingThreads=3"]


def job(session):
    ghostscript = lib.find_command("gs", "ghostscript")
    count = 12 if session.long else 3
    results = {}

    def render(name, source, device, *options):
        pattern = session.directory / f"{name}-%02d"
        session.run([ghostscript, "-q", "-dBATCH", "-dNOPAUSE", "-dSAFER", f"-sDEVICE={device}",
                     *options, f"-sOutputFile={pattern}", source])
        pages = sorted(session.directory.glob(f"{name}-*"))
        lib.check(len(pages) == count, f"gs wrote {len(pages)} pages of {name}, not {count}")
        results.update({page.name: page.read_bytes() for page in pages})

    page_count = f"-dpage_count={count}"
    render("pixels", PAGES, "ppmraw", "-r100", page_count, *BANDED)
    render("image", PAGES, "png16m", "-r72", "-dTextAlphaBits=4", "-dGraphicsAlphaBits=4",
           page_count)
    # The PDF itself holds the time of its making, so what is compared is how it looks.
    pdf = session.directory / "pages.pdf"
    session.run([ghostscript, "-q", "-dBATCH", "-dNOPAUSE", "-sDEVICE=pdfwrite", page_count,
                 f"-sOutputFile={pdf}", PAGES])
    render("from-pdf", pdf, "pgmraw", "-r72")
    return results


if __name__ == "__main__":
    lib.main("ghostscript", job)
