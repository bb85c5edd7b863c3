"""From customers' events to persistence diagrams: what shape a behaviour has.

``cloud`` places every event at six coordinates, ``Scale`` brings them to the units of
the training customers, and ``Persistence`` answers one diagram a customer.
"""

from ple_study.data.diagrams.clouds import Clouds
from ple_study.data.diagrams.coordinates import EventColumns, Ranks, Scale, cloud
from ple_study.data.diagrams.persistence import Persistence

__all__ = ["Clouds", "EventColumns", "Persistence", "Ranks", "Scale", "cloud"]
