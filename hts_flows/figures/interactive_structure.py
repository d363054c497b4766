"""A crystal structure for the browser: spheres, bonds and the cell, to be turned with the mouse.

Each element is one mesh and each kind of bond one line, so that 200 atoms are drawn at once. The cell is cut where it
breaks fewest bonds, so that layers stay whole.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.errors import InputError
from hts_flows.figures.interactive_look import Look, Theme, look_of, new_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from hts_flows.properties.layering import Bonds

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int_]

#: Most atoms in a cell that is drawn.
MOST_ATOMS = 1000
#: A bond is shorter than this multiple of the sum of the covalent radii.
TOLERANCE = 1.2
#: Radius of a sphere, in covalent radii.
RADIUS = 0.42
#: Atoms nearer than this to a face of the cell are drawn on the opposite face too, Å.
FACE = 0.15
#: Spheres are smooth for so many atoms, coarser beyond.
_SMOOTH = 45
_IONIC_GROUPS = (1, 2)
_LEVEL_GAP = 0.2
_EYE = (1.05, 0.52, 0.3)
_LIGHT = np.array([0.62, 0.08, 0.78]) / np.linalg.norm([0.62, 0.08, 0.78])


def structure_view(structure: Structure, *, theme: Theme = "light") -> go.Figure:
    """Draw a structure in three dimensions.

    Bonds of alkali and alkaline earth metals, and between metals, are drawn only where there are no others. Colours of
    the elements are Jmol's.

    Parameters
    ----------
    structure
        Ordered, lengths in Å.
    theme
        "light" or "dark".

    Raises
    ------
    InputError
        It has sites of mixed occupation, or more atoms than :data:`MOST_ATOMS`.
    """
    if not structure.is_ordered:
        raise InputError(f"{structure.formula}: sites of mixed occupation cannot be drawn", "draw an ordered structure")
    if len(structure) > MOST_ATOMS:
        raise InputError(f"{len(structure)} atoms are too many to draw", f"at most {MOST_ATOMS} are drawn")
    look = look_of(theme)
    symbols = np.array([site.specie.symbol for site in structure], dtype=object)
    matrix = _upright(structure)
    bonds = _bonds(structure)
    shift = _whole_layers(structure, bonds)
    fractional = structure.frac_coords + shift
    wrap = -np.floor(np.round(fractional, 6))
    places, atoms, images = _drawn(fractional + wrap, matrix)
    figure = new_figure(theme, margin={"l": 0, "r": 0, "t": 28, "b": 0}, meta={"prefix": ""})
    positions = places @ matrix
    colours = _element_colours()
    _add_bonds(figure, symbols[atoms], positions, _bonded(bonds, wrap, atoms, images), colours)
    for symbol in sorted(set(symbols), key=lambda one: -np.sum(symbols == one)):
        mine = symbols[atoms] == symbol
        _add_spheres(figure, symbol, positions[mine], colours, smooth=len(atoms) <= _SMOOTH)
    _add_hover(figure, structure, symbols, positions, atoms)
    _add_cell(figure, matrix, look)
    hidden = {"visible": False, "showspikes": False}
    figure.update_layout(
        scene={
            "aspectmode": "data",
            "xaxis": hidden,
            "yaxis": hidden,
            "zaxis": hidden,
            "bgcolor": "rgba(0,0,0,0)",
            "camera": {
                "eye": dict(zip("xyz", _EYE, strict=True)),
                "projection": {"type": "orthographic"},
            },
            "dragmode": "orbit",
        },
        legend={"itemsizing": "constant"},
        title={
            "text": f"{structure.composition.reduced_formula}, {len(structure)} atoms in the cell",
            "x": 0.99,
            "xanchor": "right",
            "y": 0.02,
            "yanchor": "bottom",
        },
    )
    return figure


def _upright(structure: Structure) -> Floats:
    """Lattice vectors as rows with c along z, shape (3, 3), Å."""
    from pymatgen.core import Lattice

    lattice = structure.lattice
    return np.asarray(Lattice.from_parameters(*lattice.abc, *lattice.angles).matrix)


def _bonds(structure: Structure) -> Bonds:
    """Find the bonds that are drawn, each in both directions."""
    from itertools import combinations_with_replacement

    from pymatgen.core import Element

    from hts_flows.properties.layering import Bonds, find_bonds
    from hts_flows.structures.layers import covalent_radius

    symbols = [site.specie.symbol for site in structure]
    elements = sorted(set(symbols))
    cutoffs = {
        (one, other): TOLERANCE * (covalent_radius(one) + covalent_radius(other))
        for one, other in combinations_with_replacement(elements, 2)
    }
    found = find_bonds(structure, cutoffs)
    metals = np.array([Element(symbol).is_metal for symbol in symbols], dtype=bool)
    ionic = np.array(
        [Element(symbol).is_metal and Element(symbol).group in _IONIC_GROUPS for symbol in symbols], dtype=bool
    )
    one, other = found.first, found.second
    for unwanted in ((metals[one] & metals[other]) | ionic[one] | ionic[other], metals[one] & metals[other]):
        if not unwanted.all():
            kept = ~unwanted
            return Bonds(one[kept], other[kept], found.images[kept], found.distances[kept])
    return found


def _whole_layers(structure: Structure, bonds: Bonds) -> Floats:
    """Shift along c, in fractions, after which the cell's upper and lower face cut fewest bonds."""
    heights = np.mod(np.round(structure.frac_coords[:, 2], 6), 1.0)
    levels = np.unique(heights)
    gap = _LEVEL_GAP / structure.lattice.c
    # Bonds whose ends differ by a translation along c pass through the faces.
    wrapped = np.floor(np.round(structure.frac_coords[:, 2], 6))
    lifted = bonds.images[:, 2] + wrapped[bonds.second] - wrapped[bonds.first]

    def cut(plane: float) -> int:
        above = (heights < plane).astype(int)
        return int(np.count_nonzero(lifted + above[bonds.first] - above[bonds.second]))

    apart = np.diff(np.append(levels, levels[0] + 1.0))
    planes = [(level + width / 2) % 1.0 for level, width in zip(levels, apart, strict=True) if width > gap]
    if not planes:
        return np.zeros(3)
    best = min(planes, key=lambda plane: (cut(plane), plane))
    return np.array([0.0, 0.0, -best]) if cut(best) < cut(0.0) else np.zeros(3)


def _drawn(fractional: Floats, matrix: Floats) -> tuple[Floats, Ints, Ints]:
    """Atoms in the cell and their copies on its faces: fractional places, site numbers, and translations."""
    lengths = np.linalg.norm(matrix, axis=1)
    near = FACE / lengths
    atoms, images = [np.arange(len(fractional))], [np.zeros((len(fractional), 3), dtype=int)]
    for steps in np.ndindex(3, 3, 3):
        step = np.array(steps) - 1
        if not step.any():
            continue
        moved = fractional + step
        inside = ((moved > -near) & (moved < 1 + near)).all(axis=1)
        atoms.append(np.flatnonzero(inside))
        images.append(np.tile(step, (int(inside.sum()), 1)))
    numbers, translations = np.concatenate(atoms), np.concatenate(images)
    return fractional[numbers] + translations, numbers, translations


def _bonded(bonds: Bonds, wrap: Floats, atoms: Ints, images: Ints) -> list[tuple[int, int]]:
    """Pairs of drawn atoms that are bonded, each once."""
    places = {
        (int(atom), *map(int, image)): number for number, (atom, image) in enumerate(zip(atoms, images, strict=True))
    }
    of_atom: dict[int, list[int]] = {}
    for number, atom in enumerate(atoms):
        of_atom.setdefault(int(atom), []).append(number)
    pairs = []
    # Translations between the wrapped places of both ends.
    steps = (bonds.images + wrap[bonds.first] - wrap[bonds.second]).round().astype(int)
    for first, second, step in zip(bonds.first, bonds.second, steps, strict=True):
        for number in of_atom[int(first)]:
            other = places.get((int(second), *map(int, images[number] + step)))
            if other is not None and number < other:
                pairs.append((number, other))
    return pairs


def _add_bonds(
    figure: go.Figure,
    symbols: NDArray[np.object_],
    positions: Floats,
    pairs: list[tuple[int, int]],
    colours: dict[str, str],
) -> None:
    """Draw each half of a bond in the colour of its atom."""
    halves: dict[str, list[Floats]] = {}
    for one, other in pairs:
        middle = (positions[one] + positions[other]) / 2
        for end in (one, other):
            halves.setdefault(str(symbols[end]), []).extend([positions[end], middle, np.full(3, np.nan)])
    for symbol, points in halves.items():
        lines = np.array(points)
        figure.add_scatter3d(
            **{axis: _rounded(lines[:, number]) for number, axis in enumerate("xyz")},
            mode="lines",
            line={"color": colours[symbol], "width": 7},
            legendgroup=symbol,
            showlegend=False,
            hoverinfo="skip",
        )


def _add_spheres(figure: go.Figure, symbol: str, centres: Floats, colours: dict[str, str], *, smooth: bool) -> None:
    from hts_flows.structures.layers import covalent_radius

    points, faces = _sphere(2 if smooth else 1)
    radius = RADIUS * covalent_radius(symbol)
    vertices = (centres[:, None, :] + radius * points[None]).reshape(-1, 3).astype(np.float32)
    triangles = (faces[None] + len(points) * np.arange(len(centres))[:, None, None]).reshape(-1, 3)
    indices = triangles.astype(np.uint16 if len(vertices) < np.iinfo(np.uint16).max else np.uint32)
    figure.add_mesh3d(
        **{axis: vertices[:, number] for number, axis in enumerate("xyz")},
        **{axis: indices[:, number] for number, axis in enumerate("ijk")},
        # The light is fixed to the crystal: what plotly computes leaves triangles of this size unlit.
        intensity=np.tile(np.round(127.5 * (1 + points @ _LIGHT)).astype(np.uint8), len(centres)),
        cmin=0,
        cmax=255,
        colorscale=_shades(colours[symbol]),
        showscale=False,
        color=colours[symbol],
        name=symbol,
        legendgroup=symbol,
        showlegend=True,
        hoverinfo="skip",
        lighting={"ambient": 1, "diffuse": 0, "specular": 0, "fresnel": 0},
    )


def _shades(colour: str) -> list[tuple[float, str]]:
    """Colours of a sphere from the side away from the light to the spot that shines."""
    tone = np.array([int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")], dtype=float)
    steps = ((0.0, 0.35 * tone), (0.55, 0.75 * tone), (0.85, tone), (1.0, tone + 0.6 * (255 - tone)))
    return [(place, f"rgb({','.join(str(round(part)) for part in shade)})") for place, shade in steps]


def _add_hover(
    figure: go.Figure, structure: Structure, symbols: NDArray[np.object_], positions: Floats, atoms: Ints
) -> None:
    """Add what is shown when the mouse is on an atom."""
    figure.add_scatter3d(
        **{axis: _rounded(positions[:, number]) for number, axis in enumerate("xyz")},
        mode="markers",
        marker={"size": 9, "opacity": 0.001, "color": "#888888"},
        text=[f"{symbols[atom]} {atom + 1}" for atom in atoms],
        customdata=[", ".join(f"{value:.4f}" for value in structure[int(atom)].frac_coords) for atom in atoms],
        hovertemplate="%{text}<br>fractional %{customdata}<extra></extra>",
        showlegend=False,
    )


def _add_cell(figure: go.Figure, matrix: Floats, look: Look) -> None:
    """Draw the edges of the cell, and name its vectors."""
    corners: list[Floats] = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        for low in np.ndindex(2, 2):
            start = np.zeros(3)
            start[others] = low
            end = start.copy()
            end[axis] = 1
            corners += [start @ matrix, end @ matrix, np.full(3, np.nan)]
    edges = np.array(corners)
    figure.add_scatter3d(
        **{axis: _rounded(edges[:, number]) for number, axis in enumerate("xyz")},
        mode="lines",
        line={"color": look.muted, "width": 2},
        hoverinfo="skip",
        showlegend=False,
    )
    ends = matrix * (1 + 0.8 / np.linalg.norm(matrix, axis=1))[:, None]
    figure.add_scatter3d(
        **{axis: _rounded(ends[:, number]) for number, axis in enumerate("xyz")},
        mode="text",
        text=["a", "b", "c"],
        textfont={"color": look.muted, "size": 13},
        hoverinfo="skip",
        showlegend=False,
    )


def _rounded(values: Floats) -> list[float | None]:
    """Coordinates to a thousandth of an Å; None where a line is interrupted."""
    return [None if np.isnan(value) else round(float(value), 3) for value in values]


@cache
def _element_colours() -> dict[str, str]:
    from pymatviz.colors import ELEM_COLORS_JMOL

    colours = {}
    for symbol, tone in ELEM_COLORS_JMOL.items():
        parts = [float(part) for part in tone]
        whole = [round(255 * part) if max(parts) <= 1 else round(part) for part in parts]
        colours[str(symbol)] = f"rgb({','.join(map(str, whole))})"
    return colours


@cache
def _sphere(level: int) -> tuple[Floats, Ints]:
    """Unit sphere from an icosahedron whose faces are divided in four, some times: points (n, 3), faces (m, 3)."""
    golden = (1 + 5**0.5) / 2
    seeds = [(s, t * golden, 0) for s in (-1, 1) for t in (-1, 1)]
    points = [np.roll(np.array(seed, dtype=float), turn) for turn in range(3) for seed in seeds]
    points = [point / np.linalg.norm(point) for point in points]
    edge = min(float(np.linalg.norm(points[0] - other)) for other in points[1:]) * 1.01
    near = np.linalg.norm(np.array(points)[:, None] - np.array(points)[None], axis=2) < edge
    faces = [
        (a, b, c)
        for a in range(12)
        for b in range(a + 1, 12)
        for c in range(b + 1, 12)
        if near[a, b] and near[b, c] and near[a, c]
    ]
    for _ in range(level):
        middles: dict[tuple[int, int], int] = {}

        def middle(one: int, other: int, known: dict[tuple[int, int], int] = middles) -> int:
            key = (min(one, other), max(one, other))
            if key not in known:
                known[key] = len(points)
                between = points[one] + points[other]
                points.append(between / np.linalg.norm(between))
            return known[key]

        finer = []
        for a, b, c in faces:
            ab, bc, ca = middle(a, b), middle(b, c), middle(c, a)
            finer += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = finer
    corners, triangles = np.array(points), np.array(faces)
    # All in the same sense.
    one, two, three = (corners[triangles[:, number]] for number in range(3))
    outward = np.einsum("ij,ij->i", np.cross(two - one, three - one), one) > 0
    triangles[outward] = triangles[outward][:, ::-1]
    return corners, triangles
