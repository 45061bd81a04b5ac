"""Groups without labels and without text: what belongs together in one photo (Zhang et al. 2023).

    maps of any encoder -> join_maps -> patch grid -----------------> grouper -> groups
                                          |-> superpixels (graph) -> grouper -> groups with the photo's edges

Legend: `h`, `w` a grid, `N` nodes of a graph (patches or superpixels), `D` feature channels, `K` groups.
"""

from unsay.segmentation.grouping.agglomerative import Agglomerative, ward
from unsay.segmentation.grouping.factory import METHODS, STARTER, group_photo, make_grouper
from unsay.segmentation.grouping.features import join_maps
from unsay.segmentation.grouping.graph import Graph, Labels, grid_edges, grid_graph
from unsay.segmentation.grouping.interface import Grouper
from unsay.segmentation.grouping.kmeans import KMeans
from unsay.segmentation.grouping.normalised_cut import NormalisedCut
from unsay.segmentation.grouping.specks import absorb_specks, connected_pieces
from unsay.segmentation.grouping.superpixels import Superpixels, superpixel_graph, watershed

__all__ = [
    "METHODS",
    "STARTER",
    "Agglomerative",
    "Graph",
    "Grouper",
    "KMeans",
    "Labels",
    "NormalisedCut",
    "Superpixels",
    "absorb_specks",
    "connected_pieces",
    "grid_edges",
    "grid_graph",
    "group_photo",
    "join_maps",
    "make_grouper",
    "superpixel_graph",
    "ward",
    "watershed",
]
