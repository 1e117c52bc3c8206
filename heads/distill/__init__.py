"""What a teacher, a finished run or a combination, answers to the images that a student learns from."""

from heads.distill.lesson import Lesson, lesson_of, require_lesson
from heads.distill.teacher import Teacher, TeacherMember, load_teacher
from heads.distill.unlabelled_images import UnlabelledImages, find_unlabelled

__all__ = [
    "Lesson",
    "Teacher",
    "TeacherMember",
    "UnlabelledImages",
    "find_unlabelled",
    "lesson_of",
    "load_teacher",
    "require_lesson",
]
