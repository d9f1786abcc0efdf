"""An embeddable collector with the pipeline's verdict on every event; needs the extra ``micro``."""

from snowplow_aio.micro.app import Micro

__all__ = ["Micro"]
