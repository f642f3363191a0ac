"""Readers of recorded data, a file a format; importing this registers them, and loads none of their libraries."""

from wmplan.data import store  # noqa: F401  our own shards, and stable-worldmodel's HDF5
from wmplan.data.readers import lerobot, robomimic, video_folder, zarr_buffer  # noqa: F401
