from datetime import datetime, timedelta, tzinfo

ZERO: timedelta

class UTC(tzinfo):
    def utcoffset(self, dt: datetime | None) -> timedelta: ...
    def tzname(self, dt: datetime | None) -> str: ...
    def dst(self, dt: datetime | None) -> timedelta: ...

utc: UTC
