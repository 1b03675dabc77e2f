"""Describe every picture of the catalogue that has no words yet."""

from openai import OpenAI
from tqdm import tqdm

from .store import pictures_without_words, save_words

client = OpenAI()


def caption_images() -> None:
    for picture in tqdm(pictures_without_words()):
        answer = client.responses.create(
            model="gpt-4o-mini",
            max_output_tokens=120,
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Describe the picture in one sentence."},
                        {"type": "input_image", "image_url": picture.url},
                    ],
                }
            ],
        )
        save_words(picture.id, answer.output_text)


if __name__ == "__main__":
    caption_images()
