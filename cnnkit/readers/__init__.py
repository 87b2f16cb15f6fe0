"""Readers: each knows one layout of images on a disk, recognises it by what is there, and says what it found.

`cnnkit.data.find` asks them one after another. A new layout is a module with a function `find(place: Place) -> Found | None`,
named in `cnnkit.data.READERS`.
"""
