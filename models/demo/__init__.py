"""The demo's files: a backdoored digit classifier, clean images to harden it with, and what its effect is measured by.

`model.onnx` and `preprocessor_config.json` are what a user would have; `clean.npz` are 500 clean images that the training did not see.
`test.npz` and `trigger.onnx` measure afterwards. `make.py` makes all of them again.
"""
