"""Images, PDFs and sounds by their bytes: what they are, how large, what they cost, what is taken off."""

import io
import random
import wave
import zlib

import pytest
from PIL import Image, PngImagePlugin

from loom_nb.errors import LoomUsageError
from loom_nb.media import measures
from loom_nb.media.counting import anthropic_tokens, file_tokens, image_tokens, openai_tokens
from loom_nb.media.kinds import kind_of
from loom_nb.media.limits import ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES, why_not
from loom_nb.media.measures import is_locked, measured, packed_lists, pages, pixels, seconds
from loom_nb.media.pictures import LONGEST, MOST_BYTES, fitted, thumbnail
from loom_nb.media.stripping import orientation, without_metadata


def drawn(kind, size=(60, 40), mode="RGB", **options):
    buffer = io.BytesIO()
    Image.new(mode, size, options.pop("color", 0)).save(buffer, kind, **options)
    return buffer.getvalue()


def noise(size, kind="PNG", **options):
    data = random.Random(4).randbytes(size[0] * size[1] * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", size, data).save(buffer, kind, **options)
    return buffer.getvalue()


def sound(length=2.0, rate=8_000):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\0\0" * int(length * rate))
    return buffer.getvalue()


MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz: 417 bytes
MP3 = b"ID3\x04\0\0\0\0\0\x05tag.." + MP3_FRAME * 100


def pdf(count=3, packed=False, extra=b""):
    node = b"<< /Type /Pages /Kids [] /Count %d >>" % count
    if packed:
        inner = zlib.compress(b"1 0 " + node)
        body = (
            b"5 0 obj << /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode >> stream\r\n"
            + inner
            + b"\nendstream endobj"
        )
    else:
        body = b"1 0 obj " + node + b" endobj"
    return b"%PDF-1.5\n" + body + extra + b"\n%%EOF"


IMAGES = {
    "PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp", "BMP": "image/bmp",
}  # fmt: skip


# -- what it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "media_type"), IMAGES.items())
def test_an_image_is_known_and_measured_by_its_bytes(kind, media_type):
    data = drawn(kind, (123, 45))
    assert (kind_of(data), pixels(data)) == (media_type, (123, 45))


def test_webp_is_measured_in_each_of_its_three_forms():
    assert pixels(drawn("WEBP", (123, 45), lossless=True)) == (123, 45)
    assert pixels(drawn("WEBP", (123, 45), mode="RGBA", exif=b"Exif\0\0II*\0")) == (123, 45)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (sound(), "audio/wav"), (MP3, "audio/mpeg"), (MP3_FRAME, "audio/mpeg"), (pdf(), "application/pdf"),
        (b"fLaC\0", "audio/flac"), (b"OggS\0", "audio/ogg"), (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        ("Grüße\n".encode(), "text/plain"), (b"BMW is a car, %PDF- is none", "text/plain"), (b"a,b\n1,2", "text/plain"),
        (b"", ""), (b"MZ\x90\0\x03", ""), (b"\xff\xfe\x41\x42\xff", ""), (b"PK\x03\x04\0", ""), (b"RIFF\0\0\0\0AVI ", ""),
    ],
)  # fmt: skip
def test_the_kind_is_told_by_the_bytes(data, kind):
    assert kind_of(data) == kind


def test_lengths_pages_and_locks_are_read():
    assert seconds(sound(2.5)) == 2.5
    assert seconds(MP3) == pytest.approx(100 * 1152 / 44_100)
    assert pages(pdf(7)) == 7
    assert pages(pdf(41, packed=True)) == 41
    assert pages(b"%PDF-1.5 nothing") is None
    assert is_locked(pdf(extra=b"trailer << /Encrypt 9 0 R >>"))
    assert not is_locked(pdf(extra=b"(the word /Encrypted)"))


@pytest.mark.parametrize("ends", [b"\nendstream endobj\n", b" no end "])
def test_no_byte_of_a_pdf_is_unpacked_twice(ends):
    one = b"5 0 obj << /Type /ObjStm >> stream\n" + zlib.compress(random.Random(1).randbytes(500)) + ends
    data = b"%PDF-1.5\n" + one * 300 + b"9 0 obj << /Type /Pages /Count 12 >> endobj"
    assert sum(map(len, packed_lists(data))) <= len(data)
    assert pages(data) == 12


@pytest.mark.timeout(60)  # each head that is none was read for 2,000 characters: for minutes
def test_a_pdf_of_nothing_but_heads_of_lists_is_given_up_soon():
    assert pages(b"%PDF-1.7\n" + b"/ObjStm " * 3_000_000) is None


def test_a_list_of_a_pdf_that_unpacks_to_much_is_read_in_part():
    bomb = zlib.compress(bytes(2**26) + b"<< /Type /Pages /Count 99 >>")
    data = b"%PDF-1.5\n" + b"/ObjStm >> stream\n" + bomb + b"\nendstream\n"
    assert pages(data * 20) is None


def test_the_pages_of_a_file_are_counted_once_and_no_file_is_kept():
    for number in range(1, 600):
        assert pages(pdf(number)) == number
    assert pages(pdf(3)) == 3
    assert all(len(key) == 32 for key in measures._PAGES) and len(measures._PAGES) <= measures._MOST_KNOWN


def test_sizes_are_told_as_people_say_them():
    assert measured(drawn("PNG", (1200, 800)), "image/png") == "1,200 × 800 px"
    assert measured(pdf(1), "application/pdf") == "1 page"
    assert measured(pdf(12), "application/pdf") == "12 pages"
    assert measured(sound(3.2), "audio/wav") == "3.2 s"
    assert measured(sound(75, 100), "audio/wav") == "1:15 min"
    assert measured(b"words", "text/plain") == ""


@pytest.mark.parametrize(
    "data",
    [drawn("PNG"), drawn("JPEG"), drawn("WEBP"), drawn("GIF"), sound(0.1), MP3, pdf(), pdf(packed=True)],
)
def test_no_cut_or_spoilt_file_makes_a_measure_fail(data):
    rng = random.Random(len(data))
    for cut in {*range(min(len(data), 80)), len(data) // 2}:
        measured(data[:cut], kind_of(data[:cut]))
        without_metadata(data[:cut], kind_of(data[:cut]))
    for _ in range(200):
        spoilt = bytearray(data)
        for _ in range(4):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        kind = kind_of(bytes(spoilt))
        measured(bytes(spoilt), kind)
        without_metadata(bytes(spoilt), kind)
        file_tokens(bytes(spoilt), kind)


# -- what it costs -------------------------------------------------------------------------------------


def test_tokens_are_those_of_the_vendors_own_examples():
    assert openai_tokens((1024, 1024)) == 765
    assert openai_tokens((2048, 4096)) == 1105
    assert openai_tokens((512, 512)) == 255
    assert anthropic_tokens((1092, 1092)) == 39 * 39
    assert anthropic_tokens((200, 200)) == 64
    assert anthropic_tokens((4000, 3000)) == 1568


def test_the_estimate_is_the_larger_one_and_1000_where_nothing_is_told():
    assert image_tokens(drawn("PNG", (1092, 1092))) == 1521
    assert image_tokens(drawn("PNG", (64, 64))) == 255
    assert image_tokens(b"no image") == 1_000
    assert file_tokens(pdf(12), "application/pdf") == 30_000
    assert file_tokens(sound(3.0), "audio/wav") == 30
    assert file_tokens(b"x" * 400, "text/csv") == 100


# -- what is sent --------------------------------------------------------------------------------------


def test_an_image_that_needs_nothing_is_sent_to_the_byte():
    for data in (drawn("PNG"), drawn("JPEG")):
        made = fitted(data, "x")
        assert (made.data, made.size, made.notes) == (data, (60, 40), ())


def test_what_a_camera_writes_beside_a_picture_is_dropped_and_the_picture_is_the_same():
    exif = Image.Exif()
    exif[0x010F], exif[0x8825] = "Camera of Kim", {1: "N", 2: (47.0, 22.0, 1.0)}
    note = PngImagePlugin.PngInfo()
    note.add_text("Author", "Kim of Zurich")
    for data in (
        drawn("JPEG", color=7, exif=exif, comment=b"Kim was here"),
        drawn("PNG", color=7, pnginfo=note),
        drawn("PNG", color=7) + b"Kim hung this behind it",
        drawn("WEBP", color=7, exif=exif),
    ):
        made = fitted(data, "x")
        assert b"Kim" in data
        assert b"Kim" not in made.data
        assert b"Exif" not in made.data
        before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(made.data))
        assert before.convert("RGB").tobytes() == after.convert("RGB").tobytes()


def _with_owner(kind="JPEG", **options):
    exif = Image.Exif()
    exif[0x010E] = "owner: Jane Roe"
    exif.get_ifd(0x8825)[1] = "N"
    return noise((64, 64), kind, exif=exif.tobytes(), **options)


def _with_another_inside(data):
    """Exif and a comment between two scans, where no camera writes them."""
    place = data.rindex(b"\xff\xda")
    size = lambda text: (len(text) + 2).to_bytes(2, "big") + text  # noqa: E731
    return (
        data[:place]
        + b"\xff\xe1"
        + size(b"Exif\0\0Jane Roe")
        + b"\xff\xfe"
        + size(b"Jane Roe")
        + data[place:]
    )


@pytest.mark.parametrize(
    "data",
    [
        noise((64, 64), "JPEG") + _with_owner(),
        noise((64, 64), "JPEG", progressive=True) + b"\0" * 100 + _with_owner(),
        _with_owner("MPO", save_all=True, append_images=[Image.open(io.BytesIO(_with_owner()))]),
        _with_another_inside(noise((64, 64), "JPEG", progressive=True)),
        noise((64, 64), "JPEG")[:2] + b"\xff\xe0\x00\x10JFXX\0Jane Roe\0" + noise((64, 64), "JPEG")[2:],
    ],
)
def test_nothing_of_a_second_image_behind_or_within_a_photograph_is_sent(data):
    assert b"Jane Roe" in data
    sent = fitted(data, "a.jpg").data
    assert b"Jane Roe" not in sent and sent.endswith(b"\xff\xd9") and sent.count(b"\xff\xd8\xff") == 1
    assert Image.open(io.BytesIO(sent)).tobytes() == Image.open(io.BytesIO(data)).tobytes()


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"optimize": True}]
)
def test_every_scan_of_a_photograph_is_kept_to_the_byte(options):
    data = noise((200, 150), "JPEG", **options)
    assert without_metadata(data, "image/jpeg") == data


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_photograph_that_lies_on_its_side_is_turned(order):
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112] = 6
    data = drawn("JPEG", (60, 40), exif=exif)
    assert orientation(exif.tobytes()[6:]) == 6
    made = fitted(data, "x")
    assert made.size == pixels(made.data) == (40, 60)
    assert b"Exif" not in made.data


def test_large_images_are_scaled_and_say_so():
    made = fitted(noise((2400, 1200), "JPEG"), "photo")
    assert (made.kind, made.size) == ("image/jpeg", (LONGEST, LONGEST // 2))
    assert made.notes == ("scaled from 2,400 × 1,200 pixels",)
    assert fitted(drawn("PNG", (900, 300)), "x", 300).size == (300, 100)


def test_a_drawing_too_heavy_as_png_becomes_a_jpeg_within_the_limit():
    made = fitted(noise((1500, 1500)), "noise")
    assert made.kind == "image/jpeg"
    assert len(made.data) <= MOST_BYTES
    assert "as JPEG, which is smaller" in made.notes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_comes_through(mode):
    kind = "TIFF" if mode in ("CMYK", "I;16", "I", "F") else "PNG"
    made = fitted(drawn(kind, (600, 400), mode), "x", 300)
    assert made.size == (300, 200)
    Image.open(io.BytesIO(made.data)).load()


def test_an_animation_becomes_its_first_frame():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    made = fitted(buffer.getvalue(), "x")
    assert (made.kind, made.notes) == ("image/png", ("the first of 3 frames",))
    assert Image.open(io.BytesIO(made.data)).convert("RGB").getpixel((5, 5))[0] > 200


def _png_of(width, height):
    head = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    chunk = len(head[4:]).to_bytes(4, "big") + head + zlib.crc32(head).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize("size", [(60_000, 60_000), (1, 2_000_000_000)])
def test_an_image_that_would_unpack_to_gigabytes_is_refused_before_it_is_unpacked(size):
    with pytest.raises(LoomUsageError, match="at most 89,000,000 are unpacked"):
        fitted(_png_of(*size), "bomb.png")
    assert thumbnail(_png_of(*size)) is None


def test_a_damaged_image_is_refused_by_name():
    whole = noise((80, 80))
    for data in (whole[: len(whole) // 2], _png_of(10, 10)):
        with pytest.raises(LoomUsageError, match=r"x\.png is a damaged PNG"):
            fitted(data, "x.png")


def test_a_file_that_is_damaged_where_its_frames_are_counted_is_refused_by_name():
    data = drawn("TIFF")
    link = 10 + 12 * int.from_bytes(data[8:10], "little")  # to the next frame, behind the list of the first
    spoilt = data[:link] + len(data).to_bytes(4, "little") + data[link + 4 :] + bytes(6)
    with pytest.raises(LoomUsageError, match="scan.tif is a damaged TIFF"):
        fitted(spoilt, "scan.tif")
    assert thumbnail(spoilt) is None


def test_a_thumbnail_is_small_and_there_for_what_can_be_drawn():
    kind, data = thumbnail(noise((1200, 900), "JPEG"))
    assert kind == "image/jpeg"
    assert max(pixels(data)) == 320
    assert thumbnail(pdf()) is None


# -- what a vendor takes -------------------------------------------------------------------------------


def test_each_vendor_says_what_it_does_not_take():
    wav = sound(0.1)
    assert why_not(ANTHROPIC, "audio/wav", wav) == "it takes no sound; an audio model of openai does"
    assert "chat API" in why_not(OPENAI_RESPONSES, "audio/wav", wav)
    assert why_not(OPENAI_CHAT, "audio/wav", wav) == ""
    assert why_not(OPENAI_CHAT, "audio/flac", b"fLaC") == "it takes WAV and MP3, not FLAC"
    for limits in (ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES):
        assert why_not(limits, "image/png", drawn("PNG")) == ""
        assert "at most 8,000 a side" in why_not(limits, "image/png", _png_of(8_001, 10))
        assert "101 pages" in why_not(limits, "application/pdf", pdf(101))
        assert "locked" in why_not(limits, "application/pdf", pdf(extra=b"/Encrypt 9 0 R"))
    assert "at most 3,932,160 are taken" in why_not(ANTHROPIC, "image/png", drawn("PNG") + bytes(4_000_000))
