"""ONNX: the form of a fitted pipeline that runs without scikit-learn, and the process that judges it."""

ONNX_FILE = "model.onnx"  # the name of a form among the files of a model
METADATA = "trueup"  # the key of our own metadata in an ONNX file
