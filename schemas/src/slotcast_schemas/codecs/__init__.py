"""Payload codecs: how received bytes become an image, on a device and in the publisher's proof.

`full` is the whole image, `delta.decoder` makes it from a base image.
Both stream from a `Source` to a `Sink` with bounded memory, and trust no number in a payload.
Nothing is imported here: most who ask for the name of a codec decode nothing, and need no numpy.
"""
