"""A hash of what arrays and facts hold."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def content_digest(*parts: Any) -> str:
    """Return the SHA-256, in hexadecimal, of arrays and of whatever else has a stable `repr`.

    Example:
        >>> content_digest(np.array([1.0]), "m") == content_digest(np.array([1.0]), "m")
        True
        >>> content_digest(np.array([1.0])) == content_digest(np.array([1.0], "float32"))
        False
    """
    content = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            content.update(f"\n{part.dtype.str}{part.shape}\n".encode())
            content.update(np.ascontiguousarray(part).tobytes())
        else:
            content.update(f"\n{part!r}\n".encode())
    return content.hexdigest()
