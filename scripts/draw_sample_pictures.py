"""Draw the pictures in sample_data/pictures, which belong to this project. They are committed; this says how they came.

`python scripts/draw_sample_pictures.py` writes them anew, in 16 colours of at most a few kilobytes each.
"""

import math
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

FOLDER = Path(__file__).resolve().parents[1] / "sample_data" / "pictures"
INK, PAPER, BLUE, ORANGE, GREEN, GREY = "#22252b", "#ffffff", "#2f6fb0", "#e08a2c", "#3c8d5a", "#c9ced6"


def bookings_per_weekday(draw: ImageDraw.ImageDraw) -> None:
    """Bars; Wednesday is the tallest."""
    draw.line((30, 10, 30, 170, 310, 170), fill=INK, width=2)
    for place, (day, count) in enumerate(zip("MTWTFSS", (52, 71, 118, 96, 60, 88, 24), strict=True)):
        left = 42 + place * 38
        draw.rectangle((left, 170 - count, left + 24, 169), fill=ORANGE if count == 118 else BLUE)
        draw.text((left + 8, 176), day, fill=INK)


def kiln_curve(draw: ImageDraw.ImageDraw) -> None:
    """A temperature that rises in two steps, holds, and falls."""
    draw.line((30, 10, 30, 170, 310, 170), fill=INK, width=2)
    draw.line([(30, 165), (90, 120), (110, 120), (180, 30), (210, 30), (300, 150)], fill=ORANGE, width=4, joint="curve")
    draw.text((184, 14), "1240 C", fill=INK)
    draw.text((262, 178), "hours", fill=INK)


def week_view(draw: ImageDraw.ImageDraw) -> None:
    """A calendar of five days with classes in it."""
    draw.rectangle((0, 0, 319, 22), fill=INK)
    draw.text((8, 6), "Week 47", fill=PAPER)
    for day in range(5):
        left = 10 + day * 62
        draw.rectangle((left, 32, left + 54, 190), outline=GREY)
        for start, colour in ((40 + day * 7, GREEN), (140 - day * 5, BLUE)):
            draw.rectangle((left + 3, start, left + 51, start + 34), fill=colour)


def floor_plan(draw: ImageDraw.ImageDraw) -> None:
    """Two rooms, a corridor and the way out."""
    for box, name in (((10, 10, 150, 110), "Kiln"), ((150, 10, 310, 110), "Studio"), ((10, 110, 310, 190), "Hall")):
        draw.rectangle(box, outline=INK, width=3)
        draw.text((box[0] + 10, box[1] + 8), name, fill=INK)
    draw.line((230, 80, 230, 150, 280, 150), fill=GREEN, width=4)
    draw.polygon([(280, 142), (298, 150), (280, 158)], fill=GREEN)


def logo(draw: ImageDraw.ImageDraw) -> None:
    """A bird in a circle."""
    draw.ellipse((100, 40, 220, 160), fill=BLUE)
    draw.polygon([(125, 110), (165, 80), (205, 95), (170, 120)], fill=PAPER)
    draw.polygon([(160, 95), (150, 60), (185, 90)], fill=PAPER)


def glaze_wheel(draw: ImageDraw.ImageDraw) -> None:
    """Six glazes in a circle, as they come out of the kiln."""
    for place, colour in enumerate(("#7a3b2e", "#c47a3d", "#e6d3a8", "#6f9a8d", "#2f6fb0", "#3a3f55")):
        angle = math.tau * place / 6
        middle = (160 + 62 * math.cos(angle), 100 + 62 * math.sin(angle))
        draw.ellipse((middle[0] - 28, middle[1] - 28, middle[0] + 28, middle[1] + 28), fill=colour, outline=INK)


PICTURES: tuple[Callable[[ImageDraw.ImageDraw], None], ...] = (
    bookings_per_weekday,
    kiln_curve,
    week_view,
    floor_plan,
    logo,
    glaze_wheel,
)


def main() -> None:
    """Write every picture."""
    FOLDER.mkdir(exist_ok=True)
    for picture in PICTURES:
        image = Image.new("RGB", (320, 200), PAPER)
        picture(ImageDraw.Draw(image))
        image.quantize(16, dither=Image.Dither.NONE).save(FOLDER / f"{picture.__name__}.png", optimize=True)


if __name__ == "__main__":
    main()
