"""The same question asked without gradients: what does the forecast become when some inputs stand at their usual level?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.explanation import gradients, linear
from models.explanation.attribution import mixed
from models.explanation.moment import Moment

Floats = NDArray[np.float64]


def forecasts(moment: Moment, lines: Floats) -> Floats:
    """The mixture's medians [R, H] for windows ``lines`` [R, J, C], with all that was learnt, and the scales, as they are."""
    said = linear.points(moment, np.ascontiguousarray(lines[..., 0]))
    if moment.network is not None:
        said["network"] = gradients.points(moment, moment.network, lines)
    return mixed(moment, said)


def occluded(moment: Moment, masks: NDArray[np.bool_]) -> Floats:
    """How much the forecast falls [R, H] when the inputs of each of ``masks`` [R, J, C] stand at their channel's usual level."""
    lines = np.where(masks, moment.level, moment.line)
    fallen: Floats = forecasts(moment, moment.line[None]) - forecasts(moment, lines)
    return fallen
