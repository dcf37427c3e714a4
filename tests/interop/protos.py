"""The project's .proto files by Google's compiler."""

import os
import subprocess
import sys
import tempfile

import lab

PROTOS = os.path.join(lab.ROOT, "xds", "proto")


def compile_protos(folder):
    """A module each, by name: "cluster_pb2". They lie in a new folder below that one, which modules["folder"] is."""
    folder = tempfile.mkdtemp(dir=folder)
    names = sorted(name for name in os.listdir(PROTOS) if name.endswith(".proto"))
    subprocess.run(["protoc", f"--python_out={folder}", f"-I{PROTOS}", *names], check=True)
    sys.path.insert(0, folder)
    modules = {name: __import__(name) for name in (n.removesuffix(".proto") + "_pb2" for n in names)}
    return {**modules, "folder": folder}
