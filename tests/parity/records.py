"""Named arrays of doubles in a file, as tests/reference/records.h."""
import numpy as np


def write(path, arrays):
    with open(path, "wb") as file:
        for name, array in arrays.items():
            array = np.asarray(array, dtype="<f8").ravel()
            file.write(f"{name} {array.size}\n".encode())
            file.write(array.tobytes())


def read(path):
    arrays = {}
    with open(path, "rb") as file:
        while line := file.readline():
            name, count = line.decode().split()
            data = file.read(8 * int(count))
            if len(data) != 8 * int(count):
                raise ValueError(f"{path} ends inside of {name}")
            arrays[name] = np.frombuffer(data, dtype="<f8")
    return arrays
