"""mscord: multiple sclerosis lesions in spinal cord MRI, from whichever sequences a participant has.

The path of the data is the order of the rooms::

    discover -> preprocess -> segment -> write -> report

Side rooms: ``simulate`` makes participants with lesions, ``train`` makes the weights.
"""

__version__ = "0.1.0"
