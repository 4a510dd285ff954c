"""Pictures with boxes: data sets read and checked, and the views of them that detectors are trained on."""
