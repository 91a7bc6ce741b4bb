# SPDX-License-Identifier: Apache-2.0
"""What a core holds of the files that were mapped: to prove files that have no ID, and to rebuild lost ones.

Where a file's bytes lie is told by the program headers of its image, which are right without NT_FILE, too; NT_FILE has
to agree where it says anything, for a file may also have been mapped to be read, and not as a program.
"""

from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from ..elf.header import PF_W, PF_X, Segment
from ..elf.image import Image
from ..elf.memory import Memory
from ..elf.notes import FileRow
from ..model import Piece

# Runs of dumped memory kept of one image, and of all: a real one has as many as it has segments, and some more where
# mprotect(2) split them.
MAX_RUNS = 1024
MAX_PIECES = 1 << 16
# What of a compressed core is compared with files: it has to be kept from one pass over the core (source/packed.py).
MAX_COMPARED = 16 << 20
# The smallest page of any machine. What lies in it is the header, and the program headers.
PAGE = 4096


class _Held(NamedTuple):
    """What the dump holds of one image."""

    pieces: Tuple[Piece, ...]
    whole: bool


def pieces_of(
    source: Any,
    memory: Memory,
    images: Iterable[Tuple[Optional[bytes], Image]],
    row_at: Callable[[int], Optional[FileRow]],
    warnings: List[str],
) -> Dict[int, Tuple[Piece, ...]]:
    """By the base of an image: what the dump holds of its file, if the image has no ID or all of it is there. `images`
    by rising address; `row_at` gives the row of NT_FILE that an address lies in."""
    found: Dict[int, Tuple[Piece, ...]] = {}
    budget, room, end = memory.size, MAX_PIECES, 0
    for path, one in images:
        nameless = one.build_id is None and one.go_build_id is None
        # No byte of the dump is looked at on behalf of two images, however they overlap.
        if one.base >= end and _is_mapped(memory, one, path, row_at):
            held = _held(memory, one)
            end = max(end, one.end)
        else:
            held = _Held((), False)
        pieces = held.pieces if held.whole else ()
        if nameless:
            pieces = pieces or tuple(piece for piece in held.pieces if not piece.writable)
        budget -= sum(piece.size for piece in pieces)
        if nameless and all(piece.writable for piece in pieces):
            pieces = _header(memory, one.base) + pieces
        room -= len(pieces)
        if budget < 0 or room < 0:
            warnings.append("only some of the mapped files are looked for in the dump: it has too many, or too large")
            break
        if pieces:
            found[one.base] = pieces
    _share(memory, images, found)
    if source.compression is not None:
        _announce(source, images, found, warnings)
    return found


def _share(
    memory: Memory, images: Iterable[Tuple[Optional[bytes], Image]], found: Dict[int, Tuple[Piece, ...]]
) -> None:
    """A file that is mapped again, to be read, is proven by what is known of it as a program, and looked for once."""
    best: Dict[Tuple[Optional[bytes], bytes], Tuple[Piece, ...]] = {}
    keys: Dict[int, Tuple[Optional[bytes], bytes]] = {}
    for path, one in images:
        if path is not None:
            key = path, one.build_id or one.go_build_id or memory.read(one.base, PAGE)
            keys[one.base] = key
            best[key] = max(best.get(key, ()), found.get(one.base, ()), key=_compared)
    found.update((base, best[key]) for base, key in keys.items() if best[key])


def _compared(pieces: Tuple[Piece, ...]) -> Tuple[int, int]:
    """How much they prove, and how much they hold."""
    return sum(piece.size for piece in pieces if not piece.writable), sum(piece.size for piece in pieces)


def _is_mapped(
    memory: Memory, one: Image, path: Optional[bytes], row_at: Callable[[int], Optional[FileRow]]
) -> bool:
    """True if its segments lie in memory where its program headers say, one behind the other."""
    end = 0
    for load in one.loads:
        address = (one.bias + load.vaddr) & memory.header.mask
        if address < end:
            return False
        end = address + load.filesz
        row = row_at(address)
        if row is not None and (row.path != path or row.offset + address - row.start != load.offset):
            return False
        at = memory.load_at(address)
        if load.flags & PF_X and load.filesz and not (at is not None and at.flags & PF_X):
            return False
    return bool(one.loads)


def _held(memory: Memory, one: Image) -> _Held:
    pieces: List[Piece] = []
    lacking = 0
    for load in one.loads:
        address = (one.bias + load.vaddr) & memory.header.mask
        lacking += load.filesz
        for run in memory.runs(address, load.filesz):
            if len(pieces) >= MAX_RUNS:
                return _Held((), False)
            offset = load.offset + run.address - address
            pieces.append(Piece(offset, run.at, run.size, _is_changed(one, load)))
            lacking -= run.size
    return _Held(tuple(sorted(pieces)), lacking == 0)


def _is_changed(one: Image, load: Segment) -> bool:
    """True if the process may have changed these bytes. The flags of the mapping would not tell: what was relocated is
    read-only afterwards (PT_GNU_RELRO), and so is code with text relocations."""
    return bool(load.flags & PF_W) or one.relocated


def _header(memory: Memory, base: int) -> Tuple[Piece, ...]:
    """The first page alone, where the program headers are unknown or say something else than the mappings."""
    first = memory.load_at(base)
    for run in memory.runs(base, PAGE):
        if run.address == base and first is not None:
            return (Piece(0, run.at, run.size, bool(first.flags & PF_W)),)
    return ()


def _announce(
    source: Any, images: Iterable[Tuple[Optional[bytes], Image]], found: Dict[int, Tuple[Piece, ...]],
    warnings: List[str],
) -> None:  # fmt: skip
    """Tell a compressed source what will be compared. What is too much is left to the header, which is known already;
    what is only there to be rebuilt is read from front to back, if at all."""
    room = MAX_COMPARED
    done: Dict[Tuple[Piece, ...], Tuple[Piece, ...]] = {}
    for _path, one in images:
        pieces = found.get(one.base, ())
        if one.build_id is not None or one.go_build_id is not None or not pieces:
            continue
        if pieces in done:
            found[one.base] = done[pieces]
            continue
        compared = [(piece.at, piece.size) for piece in pieces if not piece.writable]
        size = sum(count for _at, count in compared)
        if size <= room:
            room -= size
            source.prefetch(compared)
            done[pieces] = pieces
            continue
        done[pieces] = found[one.base] = _header_of(pieces)
        if size > PAGE:
            warnings.append(
                "0x%x: a file without build ID is compared by its first page only, for the dump is compressed: unpack "
                "it first to compare all that it holds" % one.base
            )


def _header_of(pieces: Tuple[Piece, ...]) -> Tuple[Piece, ...]:
    first = pieces[0]
    return (first._replace(size=min(first.size, PAGE)),) if first.offset == 0 and not first.writable else ()
