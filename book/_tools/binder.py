"""Bind printed pages to one PDF, with an outline and with links that stay inside."""

import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, Destination, DictionaryObject, Fit, NameObject

Spot = tuple[int, float | None]  # a sheet and a height on it


@dataclass
class Printed:
    """One page of the book: its name, its PDF, and its headings with their places."""

    page: str
    data: bytes
    headings: list[tuple[str, str]]


class Binder:
    """Puts pages together, then writes the outline and puts their links right."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.writer = PdfWriter()
        self.begins: dict[str, int] = {}  # page: its first sheet
        self.spots: dict[tuple[str, str], Spot] = {}  # page and place

    def append(self, one: Printed) -> None:
        """Append one page, and note where its places are."""
        reader = PdfReader(BytesIO(one.data))
        start = len(self.writer.pages)
        self.begins[one.page] = start
        for name, spot in reader.named_destinations.items():
            sheet = start + reader.get_destination_page_number(spot)
            self.spots[one.page, unquote(name.lstrip("/"))] = (sheet, float(spot.top))
        self.writer.append(reader, import_outline=False)

    def outline(self, name: str, pages: list[Printed]) -> None:
        """A part, its pages, their sections; without a name the pages stand alone."""
        above = self.entry(name, (self.begins[pages[0].page], None)) if name else None
        for one in pages:
            start = (self.begins[one.page], None)
            (title, _), *sections = one.headings
            page = self.entry(title, start, above)
            for words, place in sections:
                self.entry(words, self.spots.get((one.page, place), start), page)

    def entry(self, words: str, spot: Spot, above: Any = None) -> Any:
        """One entry of the outline, folded."""
        sheet, top = spot
        fit = Fit.fit() if top is None else Fit.xyz(top=top)
        return self.writer.add_outline_item(
            title=words, page_number=sheet, parent=above, fit=fit, is_open=False
        )

    def target(self, page: str, uri: str) -> Spot | None:
        """Where a link to a file leads in the PDF; None if the file is not in it."""
        parts = urlsplit(uri)
        name = page
        if parts.path:
            path = Path(unquote(parts.path)).with_suffix("")
            name = Path(os.path.relpath(path, self.site)).as_posix()
        if name not in self.begins:
            return None
        return self.spots.get(
            (name, unquote(parts.fragment)), (self.begins[name], None)
        )

    def turn(self) -> None:
        """Make links to files lead into the PDF, and take out those that cannot."""
        names = sorted(self.begins, key=self.begins.__getitem__)
        ends = [*(self.begins[name] for name in names[1:]), len(self.writer.pages)]
        for name, end in zip(names, ends, strict=True):
            for sheet in self.writer.pages[self.begins[name] : end]:
                links = [link.get_object() for link in sheet.get("/Annots", ())]
                kept = [link for link in links if self.turned(name, link)]
                sheet[NameObject("/Annots")] = ArrayObject(
                    self.writer._add_object(link) for link in kept
                )

    def turned(self, page: str, link: DictionaryObject) -> bool:
        """Turn one link; whether it is to stay."""
        uri = address(link)
        if urlsplit(uri).scheme in ("http", "https", "mailto"):
            return True
        found = self.target(page, uri)
        if found is None:
            return False
        sheet, top = found
        fit = Fit.fit() if top is None else Fit.xyz(top=top)
        place = Destination("", self.writer.pages[sheet].indirect_reference, fit)
        link.pop("/A", None)
        link[NameObject("/Dest")] = place.dest_array
        return True


def address(link: DictionaryObject) -> str:
    """Where a link leads, as Chromium wrote it; within its own page after a #."""
    if "/A" in link:
        return str(link["/A"]["/URI"])
    return "#" + str(link["/Dest"]).lstrip("/")


def bind(parts: list[tuple[str, list[Printed]]], site: Path, target: Path) -> int:
    """Write the PDF; answer its number of sheets."""
    binder = Binder(site)
    for _, pages in parts:
        for one in pages:
            binder.append(one)
    for name, pages in parts:
        binder.outline(name, pages)
    binder.turn()
    title = parts[0][1][0].headings[0][0]
    binder.writer.add_metadata({"/Title": title})
    binder.writer.compress_identical_objects()
    binder.writer.write(target)
    return len(binder.writer.pages)
