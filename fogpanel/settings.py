"""Django settings: flat, typed, from the environment. docs/settings.md lists every variable."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from csp.constants import NONE, SELF

from fogpanel import env
from fogpanel.secret_files import read_or_create

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"

# Where everything that is not code lives: the database, secrets, the embedded broker, agents.
DATA_DIR = Path(env.text("FOGPANEL_DATA", str(BASE_DIR / "var"))).expanduser().resolve()

# --- Address and security --------------------------------------------------------------------------

PUBLIC_URL = env.text("FOGPANEL_URL", "http://127.0.0.1:8000").rstrip("/")
BEHIND_TLS = PUBLIC_URL.startswith("https://")
DEBUG = env.flag("FOGPANEL_DEBUG")
SECRET_KEY = env.text("FOGPANEL_SECRET_KEY") or read_or_create(DATA_DIR / "secret_key")
ALLOWED_HOSTS = [
    "127.0.0.1",
    "localhost",
    "[::1]",
    urlsplit(PUBLIC_URL).hostname or "127.0.0.1",
    *env.names("FOGPANEL_HOSTS"),
]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
CSRF_FAILURE_VIEW = "fogpanel.views.csrf_refused"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_TLS
SESSION_COOKIE_HTTPONLY = True
SESSION_ENGINE = "fogpanel.sessions"
SECURE_SSL_REDIRECT = BEHIND_TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS else None
SECURE_HSTS_SECONDS = 31_536_000 if BEHIND_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = BEHIND_TLS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# --- Parts -----------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "daphne",
    "fogpanel.apps.PanelAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "axes",
    "channels",
    "csp",
    "django_celery_beat",
    "django_htmx",
    "lucide",
    "ninja",
    "template_partials",
    "fogpanel.apps.FogpanelConfig",
    "nodes",
    "tasks",
    "services",
    "services.fog_coordinator",
    "services.onion",
    "services.vpn_coordinator",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "fogpanel.urls"
ASGI_APPLICATION = "fogpanel.asgi.application"
LOGIN_URL = "/sign-in"
LOGIN_REDIRECT_URL = "/control-panel"
LOGOUT_REDIRECT_URL = "/sign-in"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- Who may come in -------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
    "fogpanel.access.AdminRoleBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AXES_FAILURE_LIMIT = 8
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "fogpanel.views.locked_out"
AXES_VERBOSE = False

# --- Database: the truth ---------------------------------------------------------------------------

DATABASES = {
    "default": dj_database_url.parse(env.text("DATABASE_URL") or f"sqlite:///{DATA_DIR}/fogpanel.sqlite3")
}
ON_SQLITE = DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3"
if ON_SQLITE:
    DATABASES["default"]["ENGINE"] = "fogpanel.sqlite"
    DATABASES["default"]["CONN_MAX_AGE"] = None  # a file does not go away
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
            "PRAGMA cache_size=-32000; PRAGMA mmap_size=268435456; PRAGMA temp_store=MEMORY;"
            "PRAGMA journal_size_limit=67108864;"
        ),
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis: messages, never truth ------------------------------------------------------------------

REDIS_URL = env.text("REDIS_URL", "redis://127.0.0.1:6379/0")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "fogpanel", "capacity": 1000, "expiry": 30},
    }
}
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "work"
CELERY_TASK_ACKS_LATE = False  # every job is a sweep: a lost one is made good by the next
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "fogpanel.beat:JobScheduler"

# --- Fog -------------------------------------------------------------------------------------------

HEARTBEAT_S = env.number("FOGPANEL_HEARTBEAT_S", 30, least=0.2, most=3600)
HEARTBEAT_TIMEOUT_S = env.number("FOGPANEL_TIMEOUT_S", 90, least=0.5, most=86_400)
REPLACE_AFTER_S = env.number("FOGPANEL_REPLACE_AFTER_S", 0, least=0, most=86_400)
GIVE_UP_S = env.number("FOGPANEL_GIVE_UP_S", 900, least=1, most=604_800)
RESEAL_S = env.number("FOGPANEL_RESEAL_S", 3600, least=10, most=604_800)
DRAIN_S = env.number("FOGPANEL_DRAIN_S", 600, least=0, most=604_800)
ARCHIVE_DAYS = env.number("FOGPANEL_ARCHIVE_DAYS", 30, least=0.01, most=36_500)
FLAPS_MAX = env.number("FOGPANEL_FLAPS_MAX", 5, least=1, most=1000)
FLAPS_WINDOW_S = env.number("FOGPANEL_FLAPS_WINDOW_S", 600, least=1, most=86_400)
STEADY_S = env.number("FOGPANEL_STEADY_S", 60, least=0.1, most=86_400)
COOL_S = env.number("FOGPANEL_COOL_S", 10, least=0.1, most=86_400)
HEARTBEATS_PER_S_MAX = env.number("FOGPANEL_HEARTBEATS_PER_S_MAX", 300, least=1, most=100_000)
SWEEP_S = env.number("FOGPANEL_SWEEP_S", 5, least=1, most=600)
PROBE_S = env.number("FOGPANEL_PROBE_S", 30, least=1, most=3600)
AGEING_S = env.number("FOGPANEL_AGEING_S", 300, least=1, most=86_400)

# How long rows are kept, in days; what goes when is in tasks.retention and fogpanel.retention.
KEEP_TASKS_DAYS = env.number("FOGPANEL_KEEP_TASKS_DAYS", 30, least=0.01, most=36_500)
KEEP_OUTPUT_DAYS = env.number("FOGPANEL_KEEP_OUTPUT_DAYS", 7, least=0.01, most=36_500)
KEEP_EXPLANATIONS_DAYS = env.number("FOGPANEL_KEEP_EXPLANATIONS_DAYS", 2, least=0.01, most=36_500)
KEEP_EVENTS_DAYS = env.number("FOGPANEL_KEEP_EVENTS_DAYS", 365, least=0.01, most=36_500)

# Message type → handler of a list of (node, message), or a list of such handlers; see docs/design.md,
# "Seams". Order is the order in which the handlers of one batch run.
AGENT_HANDLERS: dict[str, str | list[str]] = {
    "facts": "nodes.handlers.store_facts",
    "heartbeat": "nodes.handlers.store_heartbeats",
    # What a node holds is compared with what it had acknowledged before it connected, so this comes first.
    "holding": "tasks.handlers.reconcile_holdings",
    "acknowledge": "nodes.handlers.acknowledge_orders",
    # What was brought is over often before this is told, in the same batch.
    "carried": "services.vpn_coordinator.carried.note_carried",
    "started": "tasks.handlers.mark_started",
    "log": "tasks.handlers.store_logs",
    "finished": "tasks.handlers.accept_results",
    "fetch": "tasks.handlers.send_blobs",
    "overlayfacts": "nodes.relay_directory.facts.store_overlay_facts",
    "directorywanted": "nodes.relay_directory.answers.send_directory",
    "overlaystatus": [
        "services.onion.states.store_overlay_status",
        "services.vpn_coordinator.handlers.note_tunnels",
    ],
    "circuittried": "services.onion.trials.store_tried",
    "goodbye": "nodes.handlers.say_goodbye",
}
# Whether the placer is to hold all tasks back: an operator's switch, which belongs to a service.
PLACING_PAUSED = "services.control.placing_is_paused"
# The privacy levels whose tasks are held back meanwhile, as nothing could bring their orders.
PLACING_HELD_BACK = "services.vpn_coordinator.choosing.levels_held_back"
# Called with the time; the last look at whether bytes come back from an exit.
EXIT_ECHO = "services.onion.trials.last_to_exit"
# By privacy level, from orders to run (node, message) to those that bring them there. Others go directly.
TASK_TRANSPORTS = {"confidential": "services.vpn_coordinator.carrying.carry_orders"}
# Called with a privacy level; says why its tasks cannot be taken now, or nothing.
TASK_ADMISSION = "services.vpn_coordinator.admission.refusal"
# What each privacy level costs, from measurement.
TASK_QUOTES = "services.vpn_coordinator.quotes.quotes"
# Called with the ids of nodes that have just connected, within the same transaction.
NODE_CONNECTED_HANDLERS = ["services.vpn_coordinator.ordering.order_anew"]
# Called with the ids of nodes that went (silent, goodbye, drained, removed) and a sentence.
NODE_GONE_HANDLERS = ["tasks.failover.release_nodes"]

# --- Files, language, logs -------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "fogpanel.static_files.StaticFiles"},
}
WHITENOISE_USE_FINDERS = DEBUG
DATA_UPLOAD_MAX_MEMORY_SIZE = 24 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 24 * 1024 * 1024
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

LOGGING_CONFIG = None  # fogpanel.logs sets structlog up, for Django, Celery and Daphne alike
SILENCED_SYSTEM_CHECKS: list[str] = []
