"""Images as bytes, and bytes as URLs that hold them, for pages without files beside them."""

import base64
import io

from PIL import Image


def jpeg(image: Image.Image, quality: int = 86) -> bytes:
    """Encode as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def data_url(kind: str, content: bytes) -> str:
    """Return content of a media type, such as image/jpeg, as a URL that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
