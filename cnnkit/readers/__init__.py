"""Readers: each knows one layout of images on a disk, recognises it by what is there, and says what it found.

`cnnkit.data.find` asks them one after another. A reader answers None where the layout is another's, and raises
`UserError` where it is its own and something in it is wrong. A new layout is a module with a function
`find(place: Place) -> Found | None`, named in `cnnkit.data.READERS`.
"""
