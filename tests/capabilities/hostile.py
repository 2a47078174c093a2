"""A class whose every door is wired: whatever is asked of an instance, it is counted and refused."""

import re

CALLS: list[str] = []


def _wired(name):
    def trap(*_, **__):
        CALLS.append(name)
        raise RuntimeError(f"{name} was called")

    return trap


_DOORS = re.findall(
    r"\S+",
    """
    __repr__ __str__ __format__ __bytes__ __len__ __bool__ __iter__ __next__ __contains__ __getitem__
    __reversed__ __call__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __add__ __radd__ __sub__ __mul__
    __int__ __float__ __index__ __complex__ __round__ __dir__ __sizeof__ __reduce__ __reduce_ex__
    __copy__ __deepcopy__ __getstate__ __getattr__ __getattribute__ __setattr__ __delattr__ __enter__
    __exit__ __fspath__ __array__ __array_interface__ __array_ufunc__ __array_function__
    __array_finalize__ __dataframe__ __length_hint__ __hash__ _repr_html_ _repr_mimebundle_ _repr_png_
    _repr_pretty_ _ipython_display_ keys items values shape dtype columns head tolist model_dump
    to_string isoformat
    """,
)


class WiredType(type):
    """The metaclass is wired as well, once the class is made."""

    armed = False

    def __getattribute__(cls, name):
        if WiredType.armed:
            CALLS.append(f"type.{name}")
            raise RuntimeError(name)
        return type.__getattribute__(cls, name)

    def __eq__(cls, other):
        if WiredType.armed:
            CALLS.append("type.__eq__")
            raise RuntimeError("__eq__")
        return cls is other

    __hash__ = type.__hash__

    def __instancecheck__(cls, instance):
        CALLS.append("type.__instancecheck__")
        raise RuntimeError("__instancecheck__")

    def __subclasscheck__(cls, other):
        CALLS.append("type.__subclasscheck__")
        raise RuntimeError("__subclasscheck__")

    def __repr__(cls):
        CALLS.append("type.__repr__")
        raise RuntimeError("__repr__")


def _property(name):
    return property(_wired(f"property {name}"))


def wired(*bases, without=()):
    """A class on `bases` with every door wired; its instances are made by `make`."""
    body = {name: _wired(name) for name in _DOORS if name not in without}
    body.update({name: _property(name) for name in ("__class__", "__doc__", "name", "size", "figure")})
    return WiredType("Hostile", bases, body)


def make(cls, *args):
    """An instance, made without waking any trap that counts."""
    base = type.__dict__["__mro__"].__get__(cls)[1]
    value = base.__new__(cls, *args)
    if any(base is one for one in (list, dict, set)):
        base.__init__(value, *args)
    slot = type.__dict__["__dict__"].__get__(cls).get("__dict__")
    if slot is not None:
        slot.__get__(value).update({"visible": 1, "api_key": "s3cret", "inner": "text"})
    return value
