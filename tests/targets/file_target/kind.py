"""The description of files."""

from hookkeeper.kind import Items, Kind

FILE = Kind(
    name="file",
    field="files",
    label="File",
    verb="append to",
    activity="append_to_files",
    shows_answer=True,
    items=Items(
        help="Files that get a line for each event.",
        model="file_target.target:FileTarget",
        check="file_target.target:check",
        render="file_target.target:render",
        rendered=("file_target.target:Line",),
        sender="file_target.send:FileSender",
        errors=("not_written",),
        masked="file_target.target:masked",
        unmasked="file_target.target:unmasked",
    ),
)
